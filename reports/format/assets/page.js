// Tables that are sorted by their heads, and a print that shows everything.
"use strict";

{
  // A third press brings the order of the report back.
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  function compare(one, other, sign) {
    const [a, b] = [one, other].map((cell) => Number(cell.dataset.value ?? NaN));
    if (Number.isNaN(a) && Number.isNaN(b)) return sign * one.textContent.localeCompare(other.textContent);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // missing numbers come last
    return sign * (a === b ? 0 : a - b);
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const original = [...table.tBodies[0].rows];
    for (const [column, head] of heads.entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const order = NEXT[head.getAttribute("aria-sort") ?? "none"];
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        const rows = [...original];
        if (order !== "none") {
          head.setAttribute("aria-sort", order);
          const sign = order === "ascending" ? 1 : -1;
          rows.sort((one, other) => compare(one.cells[column], other.cells[column], sign));
        }
        table.tBodies[0].append(...rows);
      });
    }
  }

  document.querySelectorAll("figure.table table").forEach(sortable);

  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => {
      details.open = true;
    });
  });
}
