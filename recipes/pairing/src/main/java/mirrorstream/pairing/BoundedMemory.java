package mirrorstream.pairing;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.Cache;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.WriteBufferManager;

/**
 * One bound for the state of all partitions: by default each has up to 100 MB of its own.
 *
 * <p>As Kafka's documentation has it ("Memory Management", RocksDB).
 */
public final class BoundedMemory implements RocksDBConfigSetter {
  private static Cache cache;
  private static WriteBufferManager buffers;

  @Override
  public void setConfig(String store, Options options, Map<String, Object> configs) {
    synchronized (BoundedMemory.class) {
      if (cache == null) {
        long bytes = Long.parseLong(configs.get(Settings.MEMORY).toString());
        cache = new LRUCache(bytes);
        buffers = new WriteBufferManager(bytes / 2, cache);
      }
    }
    BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
    table.setBlockCache(cache);
    table.setCacheIndexAndFilterBlocks(true);
    options.setWriteBufferManager(buffers);
    options.setTableFormatConfig(table);
  }

  @Override
  public void close(String store, Options options) {
    // The cache is that of all stores, and lives as long as the process.
  }
}
