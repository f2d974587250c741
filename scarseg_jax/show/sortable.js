"use strict";
document.querySelectorAll("table.sortable").forEach((table) => {
  table.querySelectorAll("thead button").forEach((button, column) => {
    button.addEventListener("click", () => {
      const heading = button.parentElement, body = table.tBodies[0];
      const up = heading.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].textContent.trim().replace("\u2212", "-").replace("< ", "");
      const compare = (a, b) => {
        const x = parseFloat(value(a)), y = parseFloat(value(b));
        if (column === 0) return value(a).localeCompare(value(b), undefined, { numeric: true });
        return (isNaN(x) ? -Infinity : x) - (isNaN(y) ? -Infinity : y) || 0;
      };
      [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(a, b)).forEach((row) => body.append(row));
    });
  });
});
