"use strict";
// Tables sort by a button in each header. Sub-peaks ("1a") stay with their cluster, empty cells come last.
document.documentElement.classList.add("js");

function valueOf(cell) {
  const text = cell.textContent.trim();
  if (text === "") return null;
  const number = Number(text.replace(/,/g, "").replace(/^[<>]/, ""));
  return Number.isNaN(number) ? text.toLowerCase() : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  if (typeof b === "number") return 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

function groupsOf(body, nested) {
  const groups = [];
  for (const row of body.rows) {
    if (nested && groups.length && /^\d+[a-z]$/.test(row.cells[0].textContent.trim())) groups.at(-1).push(row);
    else groups.push([row]);
  }
  return groups;
}

for (const table of document.querySelectorAll("table")) {
  const headers = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const groups = groupsOf(body, headers[0].textContent.trim() === "Cluster ID");
  if (groups.length < 2) continue;
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") === "ascending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = groups.map((rows) => [valueOf(rows[0].cells[column]), rows]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return down ? compare(b, a) : compare(a, b);
      });
      body.append(...keyed.flatMap(([, rows]) => rows));
    });
  });
}

// Paper gets everything.
const closed = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    closed.push(details);
  }
});
addEventListener("afterprint", () => {
  for (const details of closed.splice(0)) details.open = false;
});
