"use strict";
// Tables sort by a button in each header, are searched and filtered, and show their other columns on demand. Sub-peaks
// ("1a") stay with their cluster, empty cells come last. A table that is wider than its box becomes a list of cards.
document.documentElement.classList.add("js");

const FEW = 4; // Fewer rows are read at a glance.
const MANY = 30; // More values are better searched than chosen from.

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function valueOf(cell) {
  const text = cell.textContent.trim();
  if (text === "") return null;
  const number = Number(text.replace(/,/g, "").replace(/^[<>]=?/, ""));
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

function sortable(headers, body, groups) {
  headers.forEach((header, column) => {
    const button = made("button", { type: "button" }, ...header.childNodes);
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

// The controls that filter by one column: two ends of a range of numbers, or a choice of values.
function condition(column, groups, changed) {
  const values = groups.map((rows) => valueOf(rows[0].cells[column])).filter((value) => value !== null);
  if (values.length && values.every((value) => typeof value === "number")) {
    const [least, most] = ["from", "to"].map((name) =>
      made("input", { type: "number", step: "any", placeholder: name, ariaLabel: name, oninput: changed }),
    );
    const within = (value) => typeof value === "number"
      && (least.value === "" || value >= Number(least.value)) && (most.value === "" || value <= Number(most.value));
    return { controls: [least, most], takes: (value) => (least.value + most.value === "" ? true : within(value)) };
  }
  const words = [...new Set(groups.map((rows) => rows[0].cells[column].textContent.trim()))].sort();
  if (words.length > MANY) {
    const part = made("input", { type: "search", placeholder: "contains", ariaLabel: "contains", oninput: changed });
    return { controls: [part], takes: (value) => String(value ?? "").includes(part.value.toLowerCase()) };
  }
  const choice = made("select", { ariaLabel: "Value", onchange: changed }, new Option("any", "any"));
  words.forEach((word, i) => choice.append(new Option(word || "(empty)", String(i))));
  const chosen = () => words[Number(choice.value)].toLowerCase();
  return { controls: [choice], takes: (value) => choice.value === "any" || String(value ?? "") === chosen() };
}

function searched(headers, groups, tools) {
  const search = made("input", { type: "search", placeholder: "Search", ariaLabel: "Search this table" });
  const columns = made("select", { ariaLabel: "Filter by a column" }, new Option("Filter by …", ""));
  headers.forEach((header, column) => columns.append(new Option(header.textContent.trim(), String(column))));
  const place = made("span", { className: "condition" });
  const count = made("output");
  // Words do not reach from one cell into the next.
  const texts = groups.map((rows) => rows.flatMap((row) => [...row.cells].map((c) => c.textContent.toLowerCase())).join("\n"));
  let filter = null;
  const update = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    groups.forEach((rows, i) => {
      const value = filter && valueOf(rows[0].cells[filter.column]);
      const kept = words.every((word) => texts[i].includes(word)) && (!filter || filter.takes(value));
      for (const row of rows) row.hidden = !kept;
      shown += kept;
    });
    count.textContent = shown === groups.length ? "" : `${shown} of ${groups.length}`;
  };
  search.addEventListener("input", update);
  columns.addEventListener("change", () => {
    const column = Number(columns.value);
    filter = columns.value && { column, ...condition(column, groups, update) };
    place.replaceChildren(...(filter ? filter.controls : []));
    update();
  });
  tools.append(search, columns, place, count);
}

function expandable(table, tools, fit) {
  const number = table.tHead.rows[0].cells.length;
  const button = made("button", { type: "button", ariaPressed: "false", textContent: `All ${number} columns` });
  button.addEventListener("click", () => {
    button.ariaPressed = String(table.classList.toggle("all"));
    fit();
  });
  tools.append(button);
}

// A table that does not fit becomes cards: a row is then a block of names and values.
function fitting(table, headers) {
  const box = table.parentElement;
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, column) => {
      cell.dataset.label = headers[column].textContent.trim();
      if (cell.textContent.trim() === "") cell.classList.add("none");
      else if (cell.textContent.length > 14) cell.classList.add("broad");
    });
  }
  return () => {
    table.classList.remove("cards");
    if (box.clientWidth) table.classList.toggle("cards", table.scrollWidth > box.clientWidth);
  };
}

for (const table of document.querySelectorAll("table")) {
  const headers = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const groups = groupsOf(body, /^Cluster( ID)?$/.test(headers[0].textContent.trim()));
  const fit = fitting(table, headers);
  const tools = made("div", { className: "tools" });
  if (groups.length >= FEW) searched(headers, groups, tools);
  if (headers.some((header) => header.classList.contains("more"))) expandable(table, tools, fit);
  if (tools.childNodes.length) table.parentElement.before(tools);
  if (groups.length > 1) sortable(headers, body, groups);
  let width = 0;
  new ResizeObserver(([{ target }]) => {
    if (target.clientWidth !== width) fit();
    width = target.clientWidth;
  }).observe(table.parentElement);
}

// The navigation stands open where there is room beside the page.
const sections = document.getElementById("sections");
if (sections) {
  const roomy = matchMedia("(min-width: 64rem)");
  const turn = () => (sections.open = roomy.matches);
  roomy.addEventListener("change", turn);
  turn();
  sections.addEventListener("click", (event) => {
    if (event.target.closest("a") && !roomy.matches) sections.open = false;
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
