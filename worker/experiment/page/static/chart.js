// Draws each timeline from the table below it, so that both always say the same.  uPlot is in this folder.
"use strict";
(() => {
  const plots = new Map(); // by the element that they stand in

  const ink = (name) => {
    const probe = document.createElement("span");
    probe.className = `ink ${name}`;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color; // resolved for the theme, which a canvas cannot do
    probe.remove();
    return colour;
  };
  const number = (text) => (text === "" || text === undefined ? null : Number(text));
  const near = (place, what) => place.closest("section").querySelectorAll(what);
  const rows = (place) => [...near(place, ".drawing tbody tr")].map((row) => row.dataset);

  function data(place) {
    const found = rows(place);
    const even = Number(place.dataset.null);
    return [
      found.map((row) => Number(row.at) / 1e6),
      found.map((row) => number(row.high)),
      found.map((row) => number(row.low)),
      found.map((row) => number(row.value)),
      found.map(() => even),
    ];
  }

  // All that is drawn and the null, with some room; the first points, from few users, may not squeeze the rest.
  function range(even) {
    return (u) => {
      const [, high, low, value] = u.data;
      const seen = [...high, ...low].filter((y) => y !== null);
      const shown = (seen.length ? seen : value).concat(value.slice(-1), even);
      const far = Math.max(...shown.map((y) => Math.abs(y - even)), 0.01) * 1.1;
      return [even - far, even + far];
    };
  }

  // Times as everywhere on the page: UTC, 24 hours; the day stands where it begins.
  function times(u, splits, _axis, _space, step) {
    return splits.map((s, i) => {
      const [day, hour] = new Date(s * 1e3).toISOString().split("T");
      const begins = hour.startsWith("00:00");
      if (step >= 86400) return i === 0 ? day : day.slice(5);
      return begins || i === 0 ? `${hour.slice(0, 5)}\n${i === 0 ? day : day.slice(5)}` : hour.slice(0, 5);
    });
  }

  // A share in per cent, any other metric as it is; the tie tells which.
  const writer = (even, decimals) => (y) => (even === 0.5 ? `${(100 * y).toFixed(decimals)} %` : y.toFixed(decimals + 2));

  // What stands under the pointer, in words.
  function tell(u) {
    const [place] = near(u.root, ".hover");
    const i = u.cursor.idx;
    if (i === null || i === undefined) { place.textContent = ""; return; }
    const [at, high, low, value] = u.data.map((each) => each[i]);
    const when = new Date(at * 1e3).toISOString().slice(0, 16).replace("T", " ");
    const say = writer(Number(u.root.parentElement.dataset.null), 1);
    const ends = low === null ? "not identified yet" : `${say(low)} to ${say(high)}`;
    place.textContent = `Before ${when} UTC: ${say(value)} (${ends})`;
  }

  function draw(place) {
    plots.get(place)?.destroy();
    plots.delete(place);
    if (!window.uPlot || !rows(place).length) return;
    const even = Number(place.dataset.null);
    const [line, band, text, grid] = ["ink-line", "ink-band", "ink-text", "ink-grid"].map(ink);
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    plots.set(place, new uPlot({
      width: place.clientWidth,
      height: place.clientHeight,
      tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), "Etc/UTC"),
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      legend: { show: false },
      padding: [12, 24, 0, 0],
      hooks: { setCursor: [tell] },
      scales: { y: { range: range(even) } },
      axes: [{ ...axis, values: times, space: 64 }, { ...axis, size: 56, values: (_, at) => at.map(writer(even, 0)) }],
      series: [
        {},
        { stroke: band, width: 1, points: { show: false } },
        { stroke: band, width: 1, points: { show: false } },
        { stroke: line, width: 2.5, points: { show: false } },
        { stroke: text, width: 1.5, dash: [5, 5], points: { show: false } },
      ],
      bands: [{ series: [1, 2], fill: band }],
    }, data(place), place));
  }

  const again = () => document.querySelectorAll(".plot").forEach(draw);
  document.addEventListener("figures", () => {
    plots.forEach((plot, place) => { if (!place.isConnected) { plot.destroy(); plots.delete(place); } });
    document.querySelectorAll(".plot").forEach((place) => {
      const plot = plots.get(place);
      if (plot && place.contains(plot.root)) plot.setData(data(place)); else draw(place);
    });
  });
  let drawn = false; // the theme is told before the first drawing, too
  document.addEventListener("themechange", () => { if (drawn) again(); });
  new ResizeObserver(() => {
    plots.forEach((plot, place) => plot.setSize({ width: place.clientWidth, height: place.clientHeight }));
  }).observe(document.getElementById("main"));
  drawn = true;
  again();
})();
