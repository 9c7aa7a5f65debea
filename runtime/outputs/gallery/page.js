"use strict";
// All text goes through textContent and all addresses through properties: no name is ever read as HTML.
const PAGE = 120; // tiles on the page at once, whatever the run holds
const ALPHA = 40; // of the classes' colours, in percent
const facts = JSON.parse(document.getElementById("facts").textContent);
const segments = facts.task === "segmentation";
const sure = facts.tiles.some((tile) => tile.confidence !== undefined);
const state = { page: 0, wanted: new Set(), shown: [], open: -1, alpha: ALPHA };
const $ = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
function colour(index) {
  return facts.palette[index] || `hsl(${Math.round(index * 137.508) % 360} 58% 52%)`;
}
function className(index) {
  return index < facts.classes.length ? facts.classes[index] : String(index);
}
function swatch(index) {
  const square = make("i", "swatch");
  square.style.background = colour(index);
  return square;
}
const percent = (share) => (share > 0 && share < 0.001 ? "<\u00a00.1\u00a0%" : `${(100 * share).toFixed(1)}\u00a0%`);
const count = (number) => number.toLocaleString("en").replaceAll(",", "\u202f");
function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

// of a tile: the share of each class; for a classifier its probabilities
for (const tile of facts.tiles) {
  tile.classes = tile.classes || [];
  const total = segments ? tile.classes.reduce((sum, [, value]) => sum + value, 0) : 1;
  tile.shares = tile.classes.map(([index, value]) => [index, value / total]);
  tile.shares.sort((a, b) => b[1] - a[1]);
  tile.found = tile.key.toLowerCase();
}
const shareOf = (tile, index) => (tile.shares.find(([k]) => k === index) || [0, 0])[1];
const has = (tile, index) => (segments ? shareOf(tile, index) > 0 : tile.shares.length > 0 && tile.shares[0][0] === index);

function head() {
  const failed = facts.tiles.filter((tile) => tile.reason).length;
  const done = facts.tiles.length - failed;
  document.title = `${facts.model}: ${plural(facts.tiles.length, "tile")}`;
  $("subtitle").textContent = `${facts.model} \u00b7 ${facts.precision} \u00b7 ${facts.task} \u00b7 dlcv ${facts.version}`;
  const numbers = [[count(done), "done"], [count(failed), "failed", failed ? "bad" : ""]];
  const known = facts.tiles.filter((tile) => tile.confidence !== undefined);
  if (known.length) {
    const mean = known.reduce((sum, tile) => sum + tile.confidence, 0) / known.length;
    numbers.push([percent(mean), segments ? "mean confidence" : "mean probability"]);
  }
  for (const [number, word, kind] of numbers) {
    const item = make("li", kind);
    item.append(make("b", "", number), make("span", "", word));
    $("counts").append(item);
  }
}

function legend() {
  const sums = new Map(facts.classes.map((_, index) => [index, 0])), tiles = new Map();
  for (const tile of facts.tiles) {
    const values = segments ? tile.classes : tile.shares.slice(0, 1).map(([index]) => [index, 1]);
    for (const [index, value] of values) {
      sums.set(index, (sums.get(index) || 0) + value);
      tiles.set(index, (tiles.get(index) || 0) + 1);
    }
  }
  const total = [...sums.values()].reduce((a, b) => a + b, 0) || 1;
  const words = [];
  for (const [index, sum] of [...sums].sort((a, b) => b[1] - a[1])) {
    const share = sum / total, number = tiles.get(index) || 0;
    if (share > 0) {
      const part = make("i");
      part.style.background = colour(index);
      part.style.flexGrow = share;
      part.title = `${className(index)} ${percent(share)}`;
      $("bar").append(part);
      words.push(part.title);
    }
    const button = make("button", number ? "class" : "class none");
    button.type = "button";
    button.dataset.index = index;
    button.setAttribute("aria-pressed", "false");
    button.title = segments ? `only tiles with ${className(index)}` : `only tiles of ${className(index)}`;
    button.append(swatch(index), make("span", "", className(index)),
      make("small", "", segments ? `${percent(share)} \u00b7 ${plural(number, "tile")}` : plural(number, "tile")));
    button.onclick = () => {
      if (!state.wanted.delete(index)) state.wanted.add(index);
      button.setAttribute("aria-pressed", state.wanted.has(index));
      refresh();
    };
    $("classes").append(button);
  }
  $("bar").setAttribute("aria-label", words.join(", "));
}

function orders() {
  const byName = (a, b) => (a.found < b.found ? -1 : a.found > b.found ? 1 : 0);
  const or = (tile, other) => (tile.confidence === undefined ? other : tile.confidence); // failed tiles have none: they come last
  const found = { name: ["name", byName] };
  const worst = { worst: ["least confident first", (a, b) => or(a, 2) - or(b, 2) || byName(a, b)],
    best: ["most confident first", (a, b) => or(b, -1) - or(a, -1) || byName(a, b)] };
  const all = sure ? { ...worst, ...found } : found;
  if (segments) {
    facts.classes.forEach((name, index) => {
      all[`class${index}`] = [`most ${name} first`, (a, b) => shareOf(b, index) - shareOf(a, index) || byName(a, b)];
    });
  }
  return all;
}

function select() {
  const find = $("find").value.toLowerCase(), show = $("show").value;
  state.shown = facts.tiles.filter((tile) =>
    (show === "all" || (show === "failed") === Boolean(tile.reason)) && tile.found.includes(find) &&
    [...state.wanted].every((index) => (segments ? has(tile, index) : true)) &&
    (segments || !state.wanted.size || [...state.wanted].some((index) => has(tile, index))));
  state.shown.sort(ORDERS[$("sort").value][1]);
}

function pictures(stack, tile, large) {
  const image = make("img");
  image.alt = "";
  image.loading = large ? "eager" : "lazy";
  image.decoding = "async";
  image.src = tile.image;
  stack.append(image);
  if (tile.mask) {
    const mask = make("img", "mask");
    mask.alt = "";
    mask.loading = image.loading;
    mask.style.opacity = state.alpha / 100;
    mask.src = tile.mask;
    stack.append(mask);
  }
}

function card(tile, position) {
  const button = make("button", tile.reason ? "tile failed" : "tile");
  button.type = "button";
  button.dataset.position = position;
  const stack = make("div", "stack"), words = make("div", "words");
  const name = make("div", "name");
  name.append(make("bdi", "", tile.key));
  name.title = tile.key;
  words.append(name);
  if (tile.reason) {
    stack.textContent = "\u26a0";
    words.append(make("div", "reason", tile.reason));
  } else {
    pictures(stack, tile, false);
    if (segments) words.append(bar(tile));
    const what = make("div", "what"), top = make("span");
    const [index, share] = tile.shares[0] || [0, 0];
    top.append(swatch(index), className(index) + (segments ? ` ${percent(share)}` : ""));
    what.append(top);
    if (tile.confidence !== undefined) {
      const value = make("b", "", percent(tile.confidence));
      value.title = segments ? "mean confidence" : "probability";
      what.append(value);
    }
    words.append(what);
  }
  button.append(stack, words);
  button.onclick = () => openTile(position);
  return button;
}
function bar(tile) {
  const shares = make("div", "shares");
  for (const [index, share] of tile.shares) {
    const part = make("i");
    part.style.background = colour(index);
    part.style.flexGrow = share;
    shares.append(part);
  }
  return shares;
}

function draw() {
  const pages = Math.max(1, Math.ceil(state.shown.length / PAGE));
  state.page = Math.min(Math.max(0, state.page), pages - 1);
  const from = state.page * PAGE, part = state.shown.slice(from, from + PAGE);
  $("grid").replaceChildren(...part.map((tile, k) => card(tile, from + k)));
  $("where").textContent = part.length ? `${count(from + 1)}\u2013${count(from + part.length)} of ${count(state.shown.length)}` : "0";
  $("previous").disabled = state.page === 0;
  $("next").disabled = state.page === pages - 1;
  $("nothing").hidden = part.length > 0;
}
function refresh() {
  state.page = 0;
  select();
  draw();
}
function turn(step) {
  const before = state.page;
  state.page += step;
  draw();
  if (state.page !== before) window.scrollTo(0, 0);
}

function openTile(position) {
  const tile = state.shown[position];
  if (!tile) return;
  state.open = position;
  const large = $("large"), stack = large.querySelector(".stack");
  stack.replaceChildren();
  if (tile.reason) stack.append(make("div", "failed-note", tile.reason));
  else if (tile.picture && !tile.picture.endsWith(".tif") && state.alpha > 0) { // no browser shows a GeoTIFF
    const image = make("img");
    image.alt = "";
    image.onerror = () => { stack.replaceChildren(); pictures(stack, tile, true); }; // the page was moved away from the run
    image.src = tile.picture;
    stack.append(image);
  } else pictures(stack, tile, true);
  large.querySelector("h2").textContent = tile.key;
  const meta = tile.reason ? ["failed"] : [`${tile.width} \u00d7 ${tile.height} pixels`];
  if (tile.confidence !== undefined) meta.push(`${segments ? "mean confidence" : "probability"} ${percent(tile.confidence)}`);
  large.querySelector(".meta").textContent = meta.join(" \u00b7 ");
  large.querySelector("tbody").replaceChildren(...tile.shares.map(([index, share]) => {
    const row = make("tr"), first = make("td");
    first.append(swatch(index));
    row.append(first, make("td", "", className(index)), make("td", "", percent(share)));
    return row;
  }));
  large.querySelector(".links").replaceChildren(...[["mask", tile.output], ["overlay", tile.picture]].filter(([, to]) => to).map(([word, to]) => {
    const link = make("a", "", word);
    link.href = to;
    link.target = "_blank";
    return link;
  }));
  if (!large.open) large.showModal();
}
function stepTile(step) {
  const position = state.open + step;
  if (position < 0 || position >= state.shown.length) return;
  if (Math.floor(position / PAGE) !== state.page) {
    state.page = Math.floor(position / PAGE);
    draw();
  }
  openTile(position);
}

function setAlpha(value) {
  state.alpha = value;
  $("alpha").value = value;
  for (const mask of document.querySelectorAll(".mask")) mask.style.opacity = value / 100;
}
function toggleClasses() {
  if (!segments) return;
  setAlpha(state.alpha > 0 ? 0 : ALPHA);
  if ($("large").open) openTile(state.open);
}
function clearFilters() {
  state.wanted.clear();
  for (const button of document.querySelectorAll(".class")) button.setAttribute("aria-pressed", "false");
  $("find").value = "";
  $("show").value = "all";
  refresh();
}
function theme(dark) {
  document.documentElement.classList.toggle("dark", dark);
}
const flipTheme = () => theme(!document.documentElement.classList.contains("dark"));

function moveFocus(key) {
  const tiles = [...document.querySelectorAll(".tile")];
  const at = tiles.indexOf(document.activeElement);
  const columns = Math.max(1, tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const target = tiles[at < 0 ? 0 : at + step];
  if (target) target.focus();
}
const KEYS = {
  "[": () => turn(-1), "]": () => turn(1), m: toggleClasses, t: flipTheme, 0: clearFilters,
  "/": () => $("find").focus(), "?": () => $("help").showModal(),
  f: () => { $("show").value = $("show").value === "failed" ? "all" : "failed"; refresh(); },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.matches("input[type=search], select, input[type=range]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const arrow = event.key.startsWith("Arrow");
  if ($("large").open) {
    if (arrow) stepTile(event.key === "ArrowLeft" || event.key === "ArrowUp" ? -1 : 1);
    else if (event.key === "m" || event.key === "t") KEYS[event.key]();
    else return;
  } else if (arrow && (document.activeElement.matches(".tile, body"))) moveFocus(event.key);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});

const ORDERS = orders();
for (const [value, [words]] of Object.entries(ORDERS)) {
  const option = make("option", "", words);
  option.value = value;
  $("sort").append(option);
}
$("alphabox").hidden = !segments;
$("alphabox").style.display = segments ? "" : "none";
$("sort").onchange = $("show").onchange = $("find").oninput = refresh;
$("alpha").oninput = (event) => setAlpha(Number(event.target.value));
$("previous").onclick = () => turn(-1);
$("next").onclick = () => turn(1);
$("theme").onclick = flipTheme;
$("keys").onclick = () => $("help").showModal();
$("clear").onclick = clearFilters;
$("large").querySelector(".close").onclick = () => $("large").close();
$("large").onclick = (event) => { if (event.target === $("large")) $("large").close(); };
$("large").onclose = () => {
  const tile = document.querySelector(`.tile[data-position="${state.open}"]`);
  if (tile) tile.focus();
};
theme(window.matchMedia("(prefers-color-scheme: dark)").matches);
head();
legend();
refresh();
