// Sorts tables by the buttons in their headers.  A row is a <tbody>: an event and its details stay together.
"use strict";
const tables = (() => {
  const value = (body, column) => body.rows[0].cells[column].dataset.value;

  // `table` may be one that was just fetched and is not shown yet.
  const sort = (table, column, order) => {
    const kind = table.tHead.rows[0].cells[column].querySelector("button").dataset.sort;
    const sign = order === "ascending" ? 1 : -1;
    const compare = kind === "number"
      ? (a, b) => Number(a) - Number(b)
      : (a, b) => a.localeCompare(b, undefined, { numeric: true });
    const bodies = [...table.tBodies];
    bodies.sort((a, b) => sign * compare(value(a, column), value(b, column)));
    bodies.forEach((body) => table.append(body));
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      if (cell.hasAttribute("aria-sort")) cell.setAttribute("aria-sort", i === column ? order : "none");
    });
  };

  // Sorts a fetched table as the one that is shown.
  const like = (fetched, shown) => {
    const cells = [...shown.tHead.rows[0].cells];
    const column = cells.findIndex((cell) => /ending$/.test(cell.getAttribute("aria-sort") ?? ""));
    if (column >= 0) sort(fetched, column, cells[column].getAttribute("aria-sort"));
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-sort]");
    if (!button) return;
    const cell = button.closest("th");
    const first = button.dataset.sort === "number" ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    sort(cell.closest("table"), cell.cellIndex, cell.getAttribute("aria-sort") === first ? other : first);
  });

  return { like };
})();
