"use strict";

// Pages through the slices of each series. Everything that it shows is in the page: scores and notes as JSON inside the
// series' section, each slice's picture and coloured map as base64 in an element of its own, decoded when it is shown.

const WHEEL_STEP = 30; // pixels of scrolling per slice: one notch of a wheel is more, a touchpad sends less

async function decoded(base64) {
  if (!base64) return null;
  const picture = new Image();
  picture.src = "data:image/webp;base64," + base64;
  await picture.decode();
  return picture;
}

function paint(canvas, picture) {
  canvas.width = picture ? picture.naturalWidth : 1; // also clears it
  canvas.height = picture ? picture.naturalHeight : 1;
  if (picture) canvas.getContext("2d").drawImage(picture, 0, 0);
}

function attach(section) {
  const find = (selector) => section.querySelector(selector);
  const data = JSON.parse(find(".data").textContent);
  if (!data.held.length) return {};
  const viewer = find(".viewer"), screen = find(".screen"), slider = find(".position"), plot = find(".plot");
  const image = find(".image"), overlay = find(".overlay"), toggle = find(".toggle"), strength = find(".strength");
  const last = data.scores.length - 1;
  let current = -1;

  async function show(wanted) {
    // A thinned series holds some of its slices only.
    const distance = (index) => Math.abs(index - wanted);
    const index = data.held.reduce((best, other) => (distance(other) < distance(best) ? other : best));
    if (index !== current) {
      current = index;
      find(".index").textContent = last ? `slice ${index}` : "";
      find(".place").textContent = data.places[index];
      find(".strip .value").textContent = data.scores[index];
      find(".note").textContent = data.notes[index] ?? "";
      if (slider) slider.setAttribute("aria-valuetext", `slice ${index}, ${data.scores[index]}`);
      if (plot) find(".cursor").style.left = `${(100 * index) / last}%`;
      for (const button of section.querySelectorAll(".jump")) {
        button.setAttribute("aria-pressed", Number(button.dataset.slice) === index);
      }
      const encoded = document.getElementById(`slice-${section.dataset.number}-${index}`)?.textContent ?? " ";
      const pictures = await Promise.all(encoded.split(" ").map(decoded));
      if (index !== current) return; // the user has gone on
      paint(image, pictures[0]);
      paint(overlay, pictures[1]);
      screen.dataset.shown = index;
    }
    if (slider) slider.value = current;
  }

  function step(count) {
    const place = data.held.indexOf(current) + count;
    show(data.held[Math.min(Math.max(place, 0), data.held.length - 1)]);
  }

  const keys = {
    ArrowUp: () => step(-1), ArrowLeft: () => step(-1), ArrowDown: () => step(1), ArrowRight: () => step(1),
    PageUp: () => step(-10), PageDown: () => step(10), Home: () => show(0), End: () => show(last),
  };

  if (slider) {
    viewer.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in keys)) return;
      keys[event.key]();
      event.preventDefault();
    });
    slider.addEventListener("input", () => show(Number(slider.value)));
    for (const button of section.querySelectorAll(".step")) {
      button.addEventListener("click", () => step(Number(button.dataset.step)));
    }

    let scrolled = 0;
    screen.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.deltaY === 0) return; // a zoom, or sideways
      event.preventDefault();
      scrolled += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : Math.sign(event.deltaY) * WHEEL_STEP;
      if (Math.abs(scrolled) < WHEEL_STEP) return;
      step(Math.sign(scrolled));
      scrolled = 0;
    }, { passive: false });

    const point = (event) => {
      const box = plot.getBoundingClientRect();
      show(Math.round((last * (event.clientX - box.left)) / box.width));
    };
    plot.addEventListener("pointerdown", (event) => {
      plot.setPointerCapture(event.pointerId);
      point(event);
    });
    plot.addEventListener("pointermove", (event) => {
      if (plot.hasPointerCapture(event.pointerId)) point(event);
    });

    for (const button of section.querySelectorAll(".jump")) {
      button.addEventListener("click", () => {
        show(Number(button.dataset.slice));
        screen.scrollIntoView({ block: "nearest" }); // on a phone it lies further up
      });
    }
  }

  const apply = () => {
    overlay.hidden = !toggle.checked;
    overlay.style.opacity = find(".scale div").style.opacity = strength.value / 100;
    find("output").textContent = `${strength.value} %`;
  };
  toggle.addEventListener("change", apply);
  strength.addEventListener("input", apply);
  screen.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "o" || event.altKey || event.ctrlKey || event.metaKey) return;
    toggle.checked = !toggle.checked;
    apply();
  });

  apply(); // a browser that reloads keeps what was set
  show(data.start);
  return keys;
}

const sections = [...document.querySelectorAll(".series")];
const keysOf = new Map(sections.map((section) => [section, attach(section)]));

// Left and right, which do not scroll the page, page through the series that was last pointed at.
let active = sections[0];
for (const section of sections) section.addEventListener("pointerenter", () => { active = section; });
document.addEventListener("keydown", (event) => {
  if (event.target !== document.body || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") keysOf.get(active)[event.key]?.();
});
