/* What every page does: sort tables, copy texts, hint at hidden columns, unfold everything for the printer.  Without it all stays readable. */
"use strict";
(() => {
  const announce = (text) => { document.getElementById("announcement").textContent = text; };

  /* Sorting: a click or a key press on a heading; numbers by data-value, missing ones last. */
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return text === "—" || text === "" ? null : text.toLocaleLowerCase();
  };

  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };

  const sortBy = (table, heading) => {
    const column = heading.cellIndex;
    const falling = heading.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
    const direction = falling ? -1 : 1;
    rows.sort(([a], [b]) => (a === null || b === null ? 1 : direction) * compare(a, b));
    table.tBodies[0].append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    announce(`${table.caption.textContent}: sorted by ${heading.textContent}, ${falling ? "falling" : "rising"}`);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    for (const heading of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sortBy(table, heading));
      heading.append(button);
    }
  }

  /* Copying: the clipboard where the browser grants it, else the selected text. */
  const copy = async (node) => {
    try {
      await navigator.clipboard.writeText(node.textContent);
    } catch {
      getSelection().selectAllChildren(node);
      document.execCommand("copy");
    }
  };

  for (const block of document.querySelectorAll(".copyable")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${block.dataset.label}`);
    button.addEventListener("click", async () => {
      await copy(block.querySelector("code"));
      button.textContent = "Copied";
      announce(`Copied ${block.dataset.label}`);
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.prepend(button);
  }

  /* A table that does not fit says so, and keeps its names and its total in sight. */
  const watch = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      target.classList.remove("is-wide");
      target.classList.toggle("is-wide", target.scrollWidth > target.clientWidth + 1);
    }
  });
  for (const box of document.querySelectorAll(".scroll")) watch.observe(box);

  /* A picture is in the page once: its link takes it from there. */
  for (const link of document.querySelectorAll("a.picture")) {
    link.href = link.closest("article").querySelector("img").src;
    link.hidden = false;
  }

  /* A printed page cannot be unfolded. */
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of folded) details.open = false; });
})();
