"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

for (const button of all("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = byId(button.dataset.of);
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // where a browser does not let pages write there: the old way
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// Of a study that still runs, whose page is written again and again; not while somebody uses it.
const live = byId("live")?.querySelector("input");
if (live) {
  live.parentNode.hidden = false;
  const opened = all("details").filter((one) => one.open).length;
  const isUsed = () => byId("code").open || byId("search")?.value || +byId("least")?.value ||
    all("details").filter((one) => one.open).length !== opened || getSelection().toString() ||
    (document.activeElement !== live && document.activeElement.matches("input, button, summary"));
  setInterval(() => { if (live.checked && !document.hidden && !isUsed()) location.reload(); }, 5_000);
}
addEventListener("beforeprint", () => { for (const one of all("details")) one.open = true; });

const table = byId("trials");
if (table) {
  const body = table.tBodies[0], rows = [...body.rows];
  const order = new Map(rows.map((row, place) => [row, place]));

  // Sorting: what has no value stays below, in either direction.
  all("th", table.tHead).forEach((head, column) => {
    const numeric = head.classList.contains("number");
    const key = (row) => {
      const text = row.cells[column].textContent.trim();
      return numeric && text ? parseFloat(text.replace("\u2212", "-")) : text;
    };
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.ariaSort = sign === 1 ? "ascending" : "descending";
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "") || order.get(a) - order.get(b);
        return sign * (numeric ? x - y : x.localeCompare(y)) || order.get(a) - order.get(b);
      });
      body.append(...rows);
    });
  });

  // Filtering: rows that have every word.
  const search = byId("search"), count = byId("count");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} trials`;
  });
  search.closest(".filter").hidden = false;
}

/** Curves and codes of all trials, as they lie in the page: deflated, in base64. */
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

/** One trial at a time stands out, in every picture and in the table. */
function link({low, high, zero, top, best, curves, codes}) {
  const rows = all("tbody tr", table), marks = new Map();
  const ranks = new Map(rows.map((row, rank) => [row.id.slice(6), rank]));
  const drawn = all("[data-t]");
  for (const mark of drawn) {
    if (!marks.has(mark.dataset.t)) marks.set(mark.dataset.t, []);
    marks.get(mark.dataset.t).push(mark);
  }
  const text = (trial, column) => byId(`trial-${trial}`).cells[column].textContent.trim();
  const readout = byId("readout"), preview = byId("preview"), panels = document.querySelector(".panels");

  // Rates and places of a curve: 64 points of the run, in a box 63 wide and 1,000 high.
  const rates = (trial) => (curves[trial] ?? []).map(
    (y) => y <= zero ? 0 : 10 ** (low + (y / 1000) * (high - low)));
  const path = (heights, width = 63) => heights.length
    ? "M" + heights.map((y, k) => `${(k * width) / 63} ${Math.round(y)}`).join("L") : "";
  const byLog = (trial) => path((curves[trial] ?? []).map((y) => 1000 - y));
  const linear = (trial) => path(rates(trial).map((rate) => 1000 * (1 - rate / (1.05 * top))));
  const inPanel = (trial) => panels?.classList.contains("by-log") ? byLog(trial) : linear(trial);
  const share = (trial) => {
    const own = rates(trial), peak = Math.max(...own);
    return path(own.map((rate) => 100 * (1 - rate / peak)), 100);
  };

  let lit = null;
  function show(trial) {
    if (trial === undefined || trial === lit) return;
    for (const mark of marks.get(lit) ?? []) {
      mark.classList.remove("lit");
      mark.closest(".row")?.querySelector(".own").removeAttribute("d");
    }
    if (lit !== null) byId(`trial-${lit}`).classList.remove("here");
    lit = trial;
    for (const mark of marks.get(trial) ?? []) {
      mark.classList.add("lit");
      mark.closest(".row")?.querySelector(".own").setAttribute("d", share(trial));
    }
    byId(`trial-${trial}`).classList.add("here");
    const curve = trial in curves ? "" : "; it has no curve";
    const words = `Trial ${trial}: ${text(trial, 1)}, ${text(trial, 3) || text(trial, 2)}, ` +
      `peak rate ${text(trial, 4)}${curve}`;
    if (readout) readout.textContent = `${words}. A click or Enter shows its code.`;
    if (preview) {
      preview.querySelector(".own").setAttribute("d", inPanel(trial));
      preview.querySelector("figcaption").textContent = words;
    }
  }

  const dialog = byId("code");
  function showCode(trial) {
    if (trial === undefined) return;
    show(trial);
    byId("code-of").textContent = `Trial ${trial}: ${text(trial, 1)}, ${text(trial, 3) || text(trial, 2)}`;
    byId("own").textContent = codes[trial];
    dialog.showModal();
  }
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());

  // The trial that is nearest to the pointer: a dot of a row, a curve of a panel.
  const heights = new Map(); // of curves, as the panels show them now
  function height(trial, k) {
    if (!heights.has(trial)) {
      heights.set(trial, inPanel(trial).slice(1).split("L").map((point) => point.split(" ")[1] / 1000));
    }
    return heights.get(trial)[k] ?? Infinity;
  }
  function nearest(svg, {clientX, clientY}) {
    const box = svg.getBoundingClientRect();
    const k = Math.min(63, Math.max(0, Math.round((63 * (clientX - box.left)) / box.width)));
    const distance = (mark) => {
      if (mark.localName === "path") {
        return Math.abs(height(mark.dataset.t, k) - (clientY - box.top) / box.height);
      }
      const {left, width, top, height: tall} = mark.getBoundingClientRect();
      return Math.hypot(left + width / 2 - clientX, (top + tall / 2 - clientY) / 3);
    };
    let found, shortest = Infinity;
    for (const mark of all("[data-t]:not(.faded)", svg)) {
      const own = distance(mark);
      if (own < shortest) [found, shortest] = [mark.dataset.t, own];
    }
    return found;
  }
  const meant = (event) => {
    const row = event.target.closest("#trials tbody tr");
    if (row) return row.id.slice(6);
    const svg = event.target.closest(".plot svg, .rates svg, .results svg");
    return svg?.querySelector("[data-t]") ? nearest(svg, event)
      : event.target.closest(".row")?.dataset.best;
  };
  const pictures = all(".overview, .panels, #trials tbody");
  let before = null; // a first touch only lights a trial up
  for (const picture of pictures) {
    picture.addEventListener("pointerdown", () => { before = lit; });
    picture.addEventListener("pointermove", (event) => show(meant(event)));
    picture.addEventListener("click", (event) => {
      const trial = meant(event);
      if (trial === undefined || event.ctrlKey || event.metaKey || getSelection().toString()) return;
      if (event.pointerType === "touch" && before !== trial) return show(trial);
      showCode(trial);
    });
  }
  table.tBodies[0].addEventListener("focusin", (event) => show(meant(event)));

  // By keyboard: a family's name, then its trials from the best on.
  for (const row of all(".overview [role=row]:has([data-t])")) {
    const name = row.querySelector(".name"), button = document.createElement("button");
    const own = [...new Set(all("[data-t]", row).map((mark) => mark.dataset.t))];
    own.sort((a, b) => ranks.get(a) - ranks.get(b));
    const here = () => own.includes(lit) ? lit : row.dataset.best ?? own[0];
    button.type = "button";
    button.append(...name.childNodes);
    name.append(button);
    button.setAttribute("aria-describedby", "readout");
    button.addEventListener("focus", () => show(here()));
    button.addEventListener("click", (event) => {
      if (event.detail) return; // by the mouse, which means the row
      event.stopPropagation();
      showCode(here());
    });
    button.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      show(own[(own.indexOf(here()) + step + own.length) % own.length]);
    });
  }

  // Each step of the slider leaves out the worst value that is left, and all that have it.
  const least = byId("least"), left = byId("left");
  if (least) {
    const values = rows.map((row) => row.cells[3].textContent.trim()).filter((value) => value);
    const levels = values.map((_, k) => k + 1).filter((kept) => values[kept] !== values[kept - 1]);
    const fade = () => {
      const kept = levels.at(-1 - least.value);
      const isFaded = (trial) => least.value > 0 && ranks.get(trial) >= kept;
      for (const mark of drawn) mark.classList.toggle("faded", isFaded(mark.dataset.t));
      for (const row of rows) row.classList.toggle("faded", isFaded(row.id.slice(6)));
      left.textContent = `${values[kept - 1]}: ${kept} of ${values.length} trials`;
      least.setAttribute("aria-valuetext", left.textContent);
    };
    least.max = levels.length - 1;
    least.value = 0; // browsers keep it over a reload
    least.addEventListener("input", fade);
    fade();
    for (const radio of all("input[name=rates]")) {
      radio.addEventListener("change", () => {
        panels.classList.toggle("by-log", radio.value === "log");
        heights.clear();
        for (const mark of all("path[data-t]", panels)) mark.setAttribute("d", inPanel(mark.dataset.t));
        showBest();
        if (lit !== null) preview?.querySelector(".own").setAttribute("d", inPanel(lit));
      });
    }
    byId("tools").hidden = false;
  }
  const showBest = () => preview?.querySelector(".best").setAttribute("d", inPanel(best));
  showBest();
  if (preview) preview.hidden = false;
  const asked = byId(location.hash.slice(1))?.closest("#trials tbody tr");
  if (asked) show(asked.id.slice(6));
  if (performance.getEntriesByType("navigation")[0]?.type !== "reload") {
    asked?.scrollIntoView({block: "center"}); // now that all has taken its place
  }
}
if (byId("data")) unpacked(byId("data").textContent).then(link);
