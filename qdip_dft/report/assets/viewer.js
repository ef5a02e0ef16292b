/* The three-dimensional view of the relaxed interfaces: 3Dmol.js with keys, buttons and words. */
"use strict";
(() => {
  const scenes = JSON.parse(document.getElementById("scenes").textContent);
  const box = document.getElementById("viewer-box");
  const element = document.getElementById("viewer");
  const choice = document.getElementById("viewer-choice");
  const words = document.getElementById("viewer-words");
  const legend = document.getElementById("viewer-legend");

  /* Where the browser has no WebGL the pictures below are the view. */
  box.hidden = false;
  let viewer = null;
  try {
    viewer = $3Dmol.createViewer(element, { disableFog: true, antialias: devicePixelRatio < 2 });
  } catch {
    viewer = null;
  }
  if (!viewer) {
    box.hidden = true;
    return;
  }
  viewer.setProjection("orthographic");

  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const vector = ([x, y, z]) => ({ x, y, z });
  const add = (...vectors) => vectors.reduce(([a, b, c], [x, y, z]) => [a + x, b + y, c + z], [0, 0, 0]);

  const drawAtoms = (scene) => {
    const atoms = scene.species.map((elem, serial) => ({
      elem, serial, index: serial, ...vector(scene.positions_ang[serial]), bonds: [], bondOrder: [],
    }));
    for (const [first, second] of scene.bonds) {
      atoms[first].bonds.push(second);
      atoms[first].bondOrder.push(1);
      atoms[second].bonds.push(first);
      atoms[second].bondOrder.push(1);
    }
    viewer.addModel().addAtoms(atoms);
    for (const [elem, look] of Object.entries(scene.elements)) {
      viewer.setStyle({ elem }, {
        sphere: { color: look.colour, radius: look.radius_ang },
        stick: { color: look.colour, radius: 0.13 },
      });
    }
  };

  /* Flat faces, each with corners and a normal of its own. */
  const drawOctahedra = (scene) => {
    for (const [elem, faces] of Object.entries(scene.octahedra_ang)) {
      const color = isDark.matches ? "#a9b3bd" : scene.elements[elem].colour;
      const shape = { vertexArr: [], normalArr: [], faceArr: [], color, opacity: 0.6 };
      for (const face of faces) {
        const [a, b, c] = [face.slice(0, 3), face.slice(3, 6), face.slice(6, 9)];
        const [u, v] = [b.map((x, i) => x - a[i]), c.map((x, i) => x - a[i])];
        const normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
        const length = Math.hypot(...normal);
        for (const corner of [a, b, c]) {
          shape.faceArr.push(shape.vertexArr.length);
          shape.vertexArr.push(vector(corner));
          shape.normalArr.push(vector(normal.map((x) => x / length)));
        }
      }
      viewer.addCustom(shape);
    }
  };

  const drawCell = (scene) => {
    const color = isDark.matches ? "#a9b3bd" : "#525c66";
    const cell = scene.cell_ang;
    for (let axis = 0; axis < 3; axis += 1) {
      const [one, two] = [cell[(axis + 1) % 3], cell[(axis + 2) % 3]];
      for (const start of [[0, 0, 0], one, two, add(one, two)]) {
        viewer.addLine({ start: vector(start), end: vector(add(start, cell[axis])), color, dashed: true });
      }
    }
  };

  const writeLegend = (scene) => {
    legend.replaceChildren(...Object.entries(scene.elements).map(([symbol, look]) => {
      const item = document.createElement("li");
      const patch = document.createElement("span");
      patch.className = "patch";
      patch.style.backgroundColor = look.colour;
      item.append(patch, symbol);
      return item;
    }));
  };

  /* 3Dmol.js looks at the mean of the atoms; a dense dot would push the film out of sight. */
  const centre = () => {
    const places = scenes[Number(choice.value)].positions_ang;
    const view = viewer.getView();
    for (let axis = 0; axis < 3; axis += 1) {
      const values = places.map((place) => place[axis]);
      view[axis] = -(Math.min(...values) + Math.max(...values)) / 2;
    }
    viewer.setView(view);
  };

  const look = (direction) => {
    viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]);
    if (direction === "side") viewer.rotate(-90, "x");
    viewer.zoomTo({ model: 0 });
    viewer.zoom(0.85);
    centre();
    viewer.render();
  };

  const show = (number) => {
    const scene = scenes[number];
    viewer.clear();
    /* Translucent faces vanish over a transparent ground. */
    viewer.setBackgroundColor(isDark.matches ? "#1d2329" : "#f5f7f9", 1);
    drawAtoms(scene);
    drawOctahedra(scene);
    drawCell(scene);
    writeLegend(scene);
    words.textContent = document.querySelectorAll("article.interface figcaption")[number].textContent;
    look("side");
    element.dataset.shown = scene.name;
  };

  const turn = (degrees, axis) => { viewer.rotate(degrees, axis); viewer.render(); };
  const zoom = (factor) => { viewer.zoom(factor); viewer.render(); };

  const keys = {
    ArrowLeft: () => turn(-10, "y"),
    ArrowRight: () => turn(10, "y"),
    ArrowUp: () => turn(-10, "x"),
    ArrowDown: () => turn(10, "x"),
    "+": () => zoom(1.2),
    "=": () => zoom(1.2),
    "-": () => zoom(1 / 1.2),
    s: () => look("side"),
    t: () => look("top"),
  };
  element.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });

  for (const button of box.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const { view, turn: axis, degrees, zoom: factor } = button.dataset;
      if (view) look(view);
      if (axis) turn(Number(degrees), axis);
      if (factor) zoom(Number(factor));
    });
  }

  /* The wheel scrolls the page unless the view has the focus. */
  element.addEventListener("wheel", (event) => {
    if (!element.contains(document.activeElement)) event.stopPropagation();
  }, { capture: true });

  choice.addEventListener("change", () => show(Number(choice.value)));
  isDark.addEventListener("change", () => show(Number(choice.value)));
  addEventListener("resize", () => { viewer.resize(); viewer.render(); });
  show(0);
})();
