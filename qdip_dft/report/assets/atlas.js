/* The filters of the atlas: fields and rows that do not pass are hidden, and so are empty lines of the matrix. */
"use strict";
(() => {
  const form = document.querySelector("form.filters");
  const entries = [...document.querySelectorAll(".entry")];
  const rows = entries.filter((entry) => entry.tagName === "TR");
  const matrix = document.getElementById("matrix");
  const isShown = (part) => part.querySelector(".entry:not([hidden])") !== null;

  const hideEmptyLines = () => {
    for (const cell of matrix.querySelectorAll("td")) cell.querySelector(".absent").hidden = isShown(cell);
    for (const row of matrix.tBodies[0].rows) row.hidden = !isShown(row);
    for (const heading of matrix.tHead.rows[0].cells) {
      if (heading.cellIndex === 0) continue;
      const column = [...matrix.tBodies[0].rows].map((row) => row.cells[heading.cellIndex]);
      const isEmpty = !column.some(isShown);
      for (const cell of [heading, ...column]) cell.hidden = isEmpty;
    }
  };

  const filter = () => {
    const asked = [...new FormData(form)].filter(([, value]) => value !== "");
    for (const entry of entries) entry.hidden = !asked.every(([name, value]) => entry.dataset[name] === value);
    hideEmptyLines();
    const count = rows.filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = `${count} of ${rows.length} results`;
  };

  form.hidden = false;
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
