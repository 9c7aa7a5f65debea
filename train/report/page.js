"use strict";
// Names go through textContent and pictures through properties: nothing from outside is ever read as HTML.
const tiles = JSON.parse(document.getElementById("facts").textContent);
const $ = (id) => document.getElementById(id);
const under = document.querySelector(".stack .under"), over = document.querySelector(".stack .over");
const edge = document.querySelector(".stack .edge");

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name, index) => {
    const option = document.createElement("option");
    option.value = index;
    option.textContent = name;
    return option;
  }));
  select.value = chosen;
}
function layerNames() {
  return tiles[$("tile").value].layers.map((layer) => layer.name);
}
// another tile may have fewer layers: the one of the same name, else the given one
function refill(select, fallback) {
  const before = select.selectedOptions.length ? select.selectedOptions[0].textContent : "";
  const names = layerNames();
  fill(select, names, names.includes(before) ? names.indexOf(before) : Math.min(fallback(names), names.length - 1));
}
function put(image, layer) {
  image.src = layer.src;
  image.alt = layer.name;
  image.classList.toggle("mask", layer.name !== "image");
}
function show() {
  const layers = tiles[$("tile").value].layers;
  put(under, layers[$("under").value]);
  put(over, layers[$("over").value]);
  slide();
}
function slide() {
  const share = Number($("split").value);
  over.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  edge.style.left = `${share}%`;
  const words = `${$("over").selectedOptions[0].textContent} over the left ${share} percent of ${$("under").selectedOptions[0].textContent}`;
  $("split").setAttribute("aria-valuetext", words);
}
function drag(event) {
  if (!(event.buttons & 1)) return;
  const box = $("stack").getBoundingClientRect();
  $("split").value = Math.round(100 * (event.clientX - box.left) / box.width);
  slide();
}
function change() {
  refill($("under"), () => 0);
  refill($("over"), (names) => names.findIndex((name) => name.startsWith("best")));
  show();
}
fill($("tile"), tiles.map((tile) => tile.name), 0);
change();
$("tile").onchange = change;
$("under").onchange = $("over").onchange = show;
$("split").oninput = slide;
$("stack").onpointerdown = (event) => { $("stack").setPointerCapture(event.pointerId); drag(event); };
$("stack").onpointermove = drag;
under.draggable = over.draggable = false;
