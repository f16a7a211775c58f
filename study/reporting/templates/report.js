"use strict";
// Without this script, browsers show the points' texts as titles, and the page is whole.

// Values at the pointer, at a finger, and at the keyboard's focus.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
let shown = null;

function hide() {
  if (shown) shown.classList.remove("shown");
  shown = null;
  tip.hidden = true;
}

function show(point) {
  if (point === shown) return;
  hide();
  shown = point;
  point.classList.add("shown");
  tip.textContent = point.dataset.text;
  tip.hidden = false;
  place(point);
}

function place(point) {
  const at = point.getBoundingClientRect(), { width, height } = tip.getBoundingClientRect();
  const left = Math.max(4, Math.min(at.left + at.width / 2 - width / 2, innerWidth - width - 4));
  const top = at.top - height - 4;
  tip.style.left = `${left}px`;
  tip.style.top = `${top > 4 ? top : at.bottom + 4}px`;
}

for (const group of document.querySelectorAll("svg .points")) {
  const svg = group.closest("svg"), points = [...group.children];
  svg.setAttribute("role", "group");
  svg.querySelector(".drawing").setAttribute("aria-hidden", "true");
  for (const point of points) {
    const title = point.querySelector("title");
    point.dataset.text = title.textContent;
    point.setAttribute("role", "img");
    point.setAttribute("aria-label", title.textContent.replaceAll("\n", ", "));
    point.setAttribute("tabindex", point === points[0] ? 0 : -1);
    title.remove();
    point.addEventListener("focus", () => show(point));
    point.addEventListener("blur", hide);
  }
  const nearest = event => {
    let best = null, least = 20;
    for (const point of points) {
      const at = point.getBoundingClientRect();
      const x = at.left + at.width / 2 - event.clientX, y = at.top + at.height / 2 - event.clientY;
      if (Math.hypot(x, y) < least) [best, least] = [point, Math.hypot(x, y)];
    }
    return best;
  };
  const point_at = event => {
    const point = nearest(event);
    if (point) show(point); else hide();
  };
  svg.addEventListener("pointermove", point_at);
  svg.addEventListener("pointerdown", point_at);
  svg.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") hide(); });
  // One stop of the Tab key for a figure; arrow keys go from point to point.
  group.addEventListener("keydown", event => {
    const last = points.length - 1, i = points.indexOf(document.activeElement);
    const to = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: last }[event.key];
    if (to === undefined || i < 0) return;
    event.preventDefault();
    const next = points[Math.max(0, Math.min(last, to))];
    points[i].setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  });
}
addEventListener("keydown", event => { if (event.key === "Escape") hide(); });
addEventListener("scroll", () => {
  if (shown && shown === document.activeElement) place(shown); else hide();
}, { capture: true, passive: true });

// What is wider than the page can be scrolled with the keyboard, too, and fades where it goes on.
const boxes = [...document.querySelectorAll(".scroll")];
function fade(box) {
  box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
}
function measure() {
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    fade(box);
  }
}
for (const box of boxes) box.addEventListener("scroll", () => fade(box), { passive: true });
addEventListener("resize", measure);
measure();

// Tables that a reader sorts by a click on a column's name, and filters.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  for (const th of heads) {
    const button = document.createElement("span");  // A <button> is not printed on later pages.
    button.setAttribute("role", "button");
    button.tabIndex = 0;
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener("click", () => sort(th));
    button.addEventListener("keydown", event => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort(th);
    });
  }

  // Numbers as numbers, empty cells last.
  function sort(th) {
    const up = th.getAttribute("aria-sort") !== "ascending";
    const text = row => row.cells[th.cellIndex].textContent;
    const order = (a, b) => {
      const [x, y] = [text(a), text(b)];
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      const byNumber = x - y;
      const by = isNaN(byNumber) ? x.localeCompare(y, undefined, { numeric: true }) : byNumber;
      return up ? by : -by;
    };
    for (const other of heads) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort(order));
  }

  const form = document.getElementById(table.dataset.filters);
  const choices = [...form.querySelectorAll("select")], input = form.querySelector("input");
  const cell = (row, choice) => row.cells[choice.dataset.column].textContent;
  for (const choice of choices) {
    const values = new Set([...body.rows].map(row => cell(row, choice)));
    for (const value of values) choice.append(new Option(value, value));
  }
  function filter() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of body.rows) {
      const text = [...row.cells].map(c => c.textContent).join(" ").toLowerCase();
      const fits = choices.every(c => !c.value || cell(row, c) === c.value);
      row.hidden = !(fits && words.every(word => text.includes(word)));
      n += !row.hidden;
    }
    form.querySelector("output").textContent = `${n} of ${body.rows.length} rows`;
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
  filter();
}
