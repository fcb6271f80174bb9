"use strict";
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = document.getElementById(button.dataset.of);
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

const table = document.getElementById("trials");
if (table) {
  const body = table.tBodies[0], rows = [...body.rows];
  const order = new Map(rows.map((row, place) => [row, place]));
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

  // Sorting: what has no value stays below, in either direction.
  table.tHead.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.ariaSort = sign === 1 ? "ascending" : "descending";
      const numeric = head.classList.contains("number");
      rows.sort((a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        if (x === "" || y === "") return (x === "") - (y === "") || order.get(a) - order.get(b);
        return sign * (numeric ? x - y : x.localeCompare(y)) || order.get(a) - order.get(b);
      });
      body.append(...rows);
    });
  });

  // Filtering: rows that have every word.
  const search = document.getElementById("search"), count = document.getElementById("count");
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
  search.closest(".tools").hidden = false;

  // The curve of the trial that is pointed at, or whose number has the focus.
  const preview = document.getElementById("preview");
  if (preview) {
    const curves = JSON.parse(document.getElementById("curves").textContent);
    const path = (trial) => {
      const points = curves.trials[trial]?.map((y, k) => `${(k / curves.steps) * 100},${100 - y}`);
      return points ? "M" + points.join("L") : "";
    };
    const [best, own] = preview.querySelectorAll("path");
    best.setAttribute("d", path(curves.best));
    let here = null;
    const show = (row) => {
      if (!row || row === here) return;
      here?.classList.remove("here");
      here = row;
      row.classList.add("here");
      own.setAttribute("d", path(row.dataset.trial));
      const [trial, family, status, value] = [...row.cells].map((cell) => cell.textContent.trim());
      const curve = row.dataset.trial in curves.trials ? "" : "; it has no curve";
      preview.querySelector("figcaption").textContent =
        `Trial ${trial}: ${family}, ${value || status}${curve}`;
    };
    for (const event of ["mouseover", "focusin"]) {
      body.addEventListener(event, (happened) => show(happened.target.closest("tr")));
    }
    const meant = document.getElementById(location.hash.slice(1));
    show(meant?.closest("#trials tbody tr") ?? rows[0]);
    preview.hidden = false;
    meant?.scrollIntoView(); // now that the preview has taken its place
  }
}
