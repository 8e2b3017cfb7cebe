/* The slice viewer of a report. It needs no library and no network. */
'use strict';
(() => {
  const root = document.getElementById('viewer');
  const data = JSON.parse(document.getElementById('viewer-data').textContent);
  const canvas = root.querySelector('canvas');
  const context = canvas.getContext('2d');
  const find = (name) => root.querySelector(`[name="${name}"]`);
  const size = data.width * data.height;
  const aspect = data.mm[1] / data.mm[0];
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const state = {
    slice: data.start, zoom: 1, x: 0, y: 0, window: 255, level: 127.5, opacity: 0.5,
    fill: false, base: 'image', on: new Set(), flicker: 0, hover: null,
  };
  const pixels = {}; // key → Uint8Array of the whole stack, slice by slice
  const labels = {}; // key → Uint16Array of the same
  const small = document.createElement('canvas');
  small.width = data.width;
  small.height = data.height;
  const smallContext = small.getContext('2d');

  function readLabels(text) {
    const runs = atob(text);
    const out = new Uint16Array(data.n * size);
    for (let i = 0, at = 0; i < runs.length; i += 3) {
      const end = at + runs.charCodeAt(i + 2);
      out.fill(runs.charCodeAt(i) + 256 * runs.charCodeAt(i + 1), at, end);
      at = end;
    }
    return out;
  }

  async function readSheet(source) {
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    const sheet = document.createElement('canvas');
    sheet.width = picture.naturalWidth;
    sheet.height = picture.naturalHeight;
    const drawing = sheet.getContext('2d', { willReadFrequently: true });
    drawing.drawImage(picture, 0, 0);
    const out = new Uint8Array(data.n * size);
    for (let n = 0; n < data.n; n++) {
      const left = (n % data.columns) * data.width;
      const top = Math.floor(n / data.columns) * data.height;
      const tile = drawing.getImageData(left, top, data.width, data.height).data;
      for (let i = 0; i < size; i++) out[n * size + i] = tile[4 * i];
    }
    return out;
  }

  function ramp(stops) {
    return Array.from({ length: 256 }, (_, value) => {
      const at = (value / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(at), stops.length - 2);
      return stops[low].map((c, i) => c + (at - low) * (stops[low + 1][i] - c));
    });
  }
  const heat = ramp(data.stops);
  const signed = ramp([data.diverging[0], [0, 0, 0], data.diverging[1]]);
  const css = (colour) => `rgb(${colour.map(Math.round).join(',')})`;

  function place() {
    const scale = Math.min(canvas.width / data.width, canvas.height / (data.height * aspect));
    const across = scale * state.zoom;
    const down = across * aspect;
    return {
      across, down,
      left: (canvas.width - data.width * across) / 2 + state.x,
      top: (canvas.height - data.height * down) / 2 + state.y,
    };
  }

  /* The mask stays an outline beside other layers: filled, it would change their colours. */
  function filled(layer) {
    return state.fill && state.on.has(layer.key) && (layer.key !== 'mask' || state.on.size === 1);
  }

  function paint() {
    const offset = state.slice * size;
    const base = pixels[state.flicker % 2 ? 'image' : state.base];
    const low = state.level - state.window / 2;
    const shown = smallContext.createImageData(data.width, data.height);
    const out = shown.data;
    for (let i = 0; i < size; i++) {
      const grey = clamp((255 * (base[offset + i] - low)) / state.window, 0, 255);
      out[4 * i] = out[4 * i + 1] = out[4 * i + 2] = grey;
      out[4 * i + 3] = 255;
    }
    const mix = (i, colour, part) => {
      for (let c = 0; c < 3; c++) out[4 * i + c] += part * (colour[c] - out[4 * i + c]);
    };
    for (const layer of data.layers) {
      if (!filled(layer)) continue;
      if (layer.kind === 'labels') {
        const values = labels[layer.key];
        for (let i = 0; i < size; i++) {
          const value = values[offset + i];
          if (value) mix(i, layer.classes[value - 1].colour, state.opacity);
        }
      } else {
        const values = pixels[layer.key];
        const colours = layer.kind === 'heat' ? heat : signed;
        for (let i = 0; i < size; i++) {
          const value = values[offset + i];
          const strength = layer.kind === 'heat' ? value / 255 : Math.abs(value - 127.5) / 127.5;
          mix(i, colours[value], Math.min(1, 2 * state.opacity * Math.sqrt(strength)));
        }
      }
    }
    smallContext.putImageData(shown, 0, 0);
    const at = place();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = '#000';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = find('smooth').checked;
    context.imageSmoothingQuality = 'high';
    context.drawImage(small, at.left, at.top, data.width * at.across, data.height * at.down);
    data.layers.filter((l) => state.on.has(l.key) && !filled(l)).forEach((l) => outline(l, at));
    annotate(at);
    tell();
  }

  /* Where the value of a pixel differs from its neighbour's, lines run between them. */
  function outline(layer, at) {
    const offset = state.slice * size;
    const ratio = window.devicePixelRatio || 1;
    const inset = 0.8 * ratio;
    const paths = new Map();
    let kind;
    if (layer.kind === 'labels') {
      const values = labels[layer.key];
      kind = (i) => values[offset + i];
    } else if (layer.kind === 'heat') {
      const values = pixels[layer.key];
      kind = (i) => (values[offset + i] > 127 ? 1 : 0);
    } else {
      const values = pixels[layer.key];
      kind = (i) => (values[offset + i] > 191 ? 2 : values[offset + i] < 64 ? 1 : 0);
    }
    const path = (value) => {
      if (!paths.has(value)) paths.set(value, new Path2D());
      return paths.get(value);
    };
    for (let row = 0; row <= data.height; row++) {
      for (let column = 0; column <= data.width; column++) {
        const inside = row < data.height && column < data.width;
        const here = inside ? kind(row * data.width + column) : 0;
        const above = row > 0 && column < data.width ? kind((row - 1) * data.width + column) : 0;
        const before = column > 0 && row < data.height ? kind(row * data.width + column - 1) : 0;
        const x = at.left + column * at.across;
        const y = at.top + row * at.down;
        // Each class has its own line, on its own side
        if (here !== above && column < data.width) {
          for (const [value, lineY] of [[above, y - inset], [here, y + inset]]) {
            if (!value) continue;
            path(value).moveTo(x, lineY);
            path(value).lineTo(x + at.across, lineY);
          }
        }
        if (here !== before && row < data.height) {
          for (const [value, lineX] of [[before, x - inset], [here, x + inset]]) {
            if (!value) continue;
            path(value).moveTo(lineX, y);
            path(value).lineTo(lineX, y + at.down);
          }
        }
      }
    }
    context.lineCap = 'square';
    context.globalAlpha = clamp(0.4 + state.opacity * 1.2, 0, 1);
    for (const [value, line] of paths) {
      context.lineWidth = 1.6 * ratio;
      if (layer.kind === 'labels') context.strokeStyle = css(layer.classes[value - 1].colour);
      else if (layer.kind === 'heat') context.strokeStyle = css(heat[190]);
      else context.strokeStyle = css(signed[value === 2 ? 255 : 0]);
      context.stroke(line);
    }
    context.globalAlpha = 1;
  }

  function annotate(at) {
    const ratio = window.devicePixelRatio || 1;
    const font = 15 * ratio;
    const edge = 8 * ratio;
    const { width, height } = canvas;
    context.font = `600 ${font}px system-ui, sans-serif`;
    const write = (text, x, y, align, baseline) => {
      context.textAlign = align;
      context.textBaseline = baseline;
      context.lineWidth = 3 * ratio;
      context.lineJoin = 'round';
      context.strokeStyle = '#000';
      context.strokeText(text, x, y);
      context.fillStyle = '#fff';
      context.fillText(text, x, y);
    };
    write(data.edges[0], edge, height / 2, 'left', 'middle');
    write(data.edges[1], width - edge, height / 2, 'right', 'middle');
    write(data.edges[2], width / 2, edge, 'center', 'top');
    write(data.edges[3], width / 2, height - edge, 'center', 'bottom');
    write(`slice ${state.slice}`, edge, edge, 'left', 'top');
    if (state.base !== 'image') {
      const shown = state.flicker % 2 ? 'image' : state.base;
      write(data.bases.find((b) => b.key === shown).name, edge, edge + 1.4 * font, 'left', 'top');
    }
    const perMm = at.across / data.mm[0];
    const fits = [20, 10, 5, 2, 1, 0.5, 0.2, 0.1].filter((mm) => mm * perMm < width / 3.5);
    const length = fits[0] || 0.05;
    const right = width - edge;
    const bar = height - edge - 1.3 * font;
    context.lineCap = 'butt';
    for (const [thick, colour] of [[6 * ratio, '#000'], [3 * ratio, '#fff']]) {
      context.lineWidth = thick;
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(right - length * perMm, bar);
      context.lineTo(right, bar);
      context.stroke();
    }
    write(`${length} mm`, right, height - edge, 'right', 'bottom');
  }

  function tell() {
    const parts = [`Slice ${state.slice} of 0 to ${data.n - 1}`];
    const sure = data.probability[state.slice];
    if (sure !== null) parts.push(`mask good with probability ${sure.toFixed(2)}`);
    if (state.hover !== null) {
      const i = state.slice * size + state.hover;
      parts.push(`image ${Math.round(pixels[state.base][i] / 2.55)} %`);
      for (const layer of data.layers) {
        if (!state.on.has(layer.key)) continue;
        if (layer.kind === 'labels') {
          const value = labels[layer.key][i];
          if (value) parts.push(layer.classes[value - 1].name);
        } else if (layer.kind === 'heat') {
          parts.push(`${layer.name.toLowerCase()} ${(pixels[layer.key][i] / 255).toFixed(2)}`);
        }
      }
    }
    root.querySelector('.told').textContent = parts.join(' · ');
    canvas.setAttribute('aria-valuenow', state.slice);
    canvas.setAttribute('aria-valuetext', parts.slice(0, 2).join(', '));
    find('slice').value = state.slice;
    root.dataset.slice = state.slice;
    root.dataset.zoom = state.zoom.toFixed(3);
    root.dataset.layers = [...state.on].join(' ');
  }

  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paint();
    });
  }

  function fit() {
    const ratio = window.devicePixelRatio || 1;
    const across = canvas.clientWidth;
    const tall = (across * data.height * aspect) / data.width;
    const down = Math.round(Math.min(tall, Math.max(260, window.innerHeight * 0.65)));
    canvas.style.height = `${down}px`;
    canvas.width = Math.round(across * ratio);
    canvas.height = Math.round(down * ratio);
    draw();
  }

  function go(slice) {
    state.slice = clamp(Math.round(slice), 0, data.n - 1);
    document.dispatchEvent(new CustomEvent('slice', { detail: state.slice }));
    draw();
  }

  function zoomBy(factor, x = canvas.width / 2, y = canvas.height / 2) {
    const zoom = clamp(state.zoom * factor, 1, 20);
    const real = zoom / state.zoom;
    // The point below the pointer stays where it is
    state.x = x - canvas.width / 2 - (x - canvas.width / 2 - state.x) * real;
    state.y = y - canvas.height / 2 - (y - canvas.height / 2 - state.y) * real;
    state.zoom = zoom;
    if (zoom === 1) state.x = state.y = 0;
    canvas.style.touchAction = zoom > 1 ? 'none' : 'pan-y';
    draw();
  }

  function reset() {
    Object.assign(state, { zoom: 1, x: 0, y: 0, window: 255, level: 127.5 });
    find('window').value = 255;
    find('level').value = 127.5;
    canvas.style.touchAction = 'pan-y';
    draw();
  }

  let timer = null;
  function flicker(on = timer === null) {
    clearInterval(timer);
    timer = null;
    state.flicker = 0;
    if (on) {
      if (state.base === 'image' && data.bases.length > 1) choose(data.bases[1].key);
      timer = setInterval(() => {
        state.flicker += 1;
        draw();
      }, 500); // Slower than three flashes a second
    }
    root.querySelector('[data-do="flicker"]').setAttribute('aria-pressed', String(timer !== null));
    draw();
  }
  function choose(base) {
    state.base = base;
    find('base').value = base;
  }

  function toggle(key, on = !state.on.has(key)) {
    if (on) state.on.add(key);
    else state.on.delete(key);
    root.querySelector(`[data-layer="${key}"]`).checked = on;
    legend();
    draw();
  }

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function legend() {
    const list = root.querySelector('.legend');
    list.replaceChildren();
    for (const layer of data.layers.filter((l) => state.on.has(l.key))) {
      const row = element('li', {}, element('strong', { textContent: layer.name }));
      if (layer.kind === 'labels') {
        for (const { name, colour } of layer.classes.slice(0, 8)) {
          const key = element('span', { className: 'key' });
          key.style.background = css(colour);
          row.append(key, name);
        }
        if (layer.classes.length > 8) row.append(' … point at a region to read its name');
      } else {
        const stops = layer.kind === 'heat' ? heat : signed;
        const bar = element('span', { className: 'bar' });
        const picked = [0, 32, 64, 96, 128, 160, 192, 224, 255].map((i) => css(stops[i]));
        bar.style.background = `linear-gradient(to right, ${picked.join(',')})`;
        row.append(` ${layer.ends[0]} `, bar, ` ${layer.ends[1]}`);
        if (!state.fill) row.append('; the contour is at half');
      }
      list.append(row);
    }
  }

  function build() {
    const boxes = root.querySelector('.layers');
    data.layers.forEach((layer, index) => {
      const box = element('input', { type: 'checkbox' });
      box.dataset.layer = layer.key;
      box.addEventListener('change', () => toggle(layer.key, box.checked));
      const label = element('label', {}, box, layer.name);
      if (index < 9) label.append(element('kbd', { textContent: String(index + 1) }));
      boxes.append(label);
    });
    for (const { key, name } of data.bases) {
      find('base').append(element('option', { value: key, textContent: name }));
    }
    root.querySelector('.bases').hidden = data.bases.length < 2;
    find('base').addEventListener('change', (event) => {
      state.base = event.target.value;
      draw();
    });
    find('slice').max = data.n - 1;
    find('slice').addEventListener('input', (event) => go(+event.target.value));
    for (const name of ['window', 'level', 'opacity']) {
      find(name).addEventListener('input', (event) => {
        state[name] = +event.target.value;
        draw();
      });
    }
    find('smooth').addEventListener('change', draw);
    root.querySelectorAll('[name="style"]').forEach((radio) =>
      radio.addEventListener('change', () => {
        state.fill = root.querySelector('[name="style"]:checked').value === 'fill';
        legend();
        draw();
      }),
    );
    const actions = {
      in: () => zoomBy(1.4), out: () => zoomBy(1 / 1.4), reset, flicker: () => flicker(),
      previous: () => go(state.slice - 1), next: () => go(state.slice + 1),
    };
    root.querySelectorAll('[data-do]').forEach((button) =>
      button.addEventListener('click', () => actions[button.dataset.do]()),
    );
    canvas.setAttribute('aria-valuemax', data.n - 1);
    canvas.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const moves = {
        ArrowUp: state.slice + 1, ArrowRight: state.slice + 1, PageUp: state.slice + 5,
        ArrowDown: state.slice - 1, ArrowLeft: state.slice - 1, PageDown: state.slice - 5,
        Home: 0, End: data.n - 1,
      };
      const layer = data.layers[+event.key - 1];
      if (event.key in moves) go(moves[event.key]);
      else if (event.key === '+' || event.key === '=') zoomBy(1.4);
      else if (event.key === '-') zoomBy(1 / 1.4);
      else if (event.key === '0') reset();
      else if (event.key === 'f' && data.bases.length > 1) flicker();
      else if (layer) toggle(layer.key);
      else return;
      event.preventDefault();
    });
    point();
  }

  /* Wheel, mouse and fingers. */
  function point() {
    const held = new Map();
    let swiped = 0;
    let turned = 0;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      const ratio = canvas.width / box.width;
      return { x: (event.clientX - box.left) * ratio, y: (event.clientY - box.top) * ratio };
    };
    canvas.addEventListener('wheel', (event) => {
      const { x, y } = at(event);
      if (event.ctrlKey) {
        event.preventDefault();
        zoomBy(Math.exp(-event.deltaY / 200), x, y);
        return;
      }
      const step = -Math.sign(event.deltaY);
      const target = clamp(state.slice + step, 0, data.n - 1);
      if (target === state.slice) return; // At an end the page scrolls on
      event.preventDefault();
      // A touch pad sends many small steps
      turned = Math.sign(turned) === step ? turned + step * Math.min(60, Math.abs(event.deltaY)) :
        step * Math.min(60, Math.abs(event.deltaY));
      if (Math.abs(turned) >= 30) {
        turned = 0;
        go(target);
      }
    }, { passive: false });
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, at(event));
      swiped = 0;
    });
    const leave = (event) => held.delete(event.pointerId);
    canvas.addEventListener('pointerup', leave);
    canvas.addEventListener('pointercancel', leave);
    canvas.addEventListener('pointerleave', () => {
      state.hover = null;
      draw();
    });
    canvas.addEventListener('pointermove', (event) => {
      const now = at(event);
      const before = held.get(event.pointerId);
      const { left, top, across, down } = place();
      const column = Math.floor((now.x - left) / across);
      const row = Math.floor((now.y - top) / down);
      const inside = column >= 0 && row >= 0 && column < data.width && row < data.height;
      state.hover = inside ? row * data.width + column : null;
      if (!before) {
        draw();
        return;
      }
      const dx = now.x - before.x;
      const dy = now.y - before.y;
      if (held.size === 2) {
        const other = [...held].find(([id]) => id !== event.pointerId)[1];
        const was = Math.hypot(before.x - other.x, before.y - other.y);
        const is = Math.hypot(now.x - other.x, now.y - other.y);
        if (was > 0) zoomBy(is / was, (now.x + other.x) / 2, (now.y + other.y) / 2);
      } else if (event.pointerType !== 'touch' && (event.buttons === 2 || event.shiftKey)) {
        state.window = clamp(state.window + (255 * dx) / canvas.width, 5, 510);
        state.level = clamp(state.level - (255 * dy) / canvas.height, 0, 255);
        find('window').value = state.window;
        find('level').value = state.level;
      } else if (state.zoom > 1) {
        state.x += dx;
        state.y += dy;
      } else if (event.pointerType === 'touch') {
        swiped += dx;
        const stride = Math.max(canvas.width / (2 * data.n), 14 * (window.devicePixelRatio || 1));
        const slices = Math.trunc(swiped / stride);
        swiped -= slices * stride;
        if (slices) go(state.slice + slices);
      }
      held.set(event.pointerId, now);
      draw();
    });
  }

  async function start() {
    for (const [key, text] of Object.entries(data.labels)) labels[key] = readLabels(text);
    await Promise.all(
      Object.entries(data.sheets).map(async ([key, source]) => {
        pixels[key] = await readSheet(source);
      }),
    );
    build();
    root.hidden = false;
    document.getElementById('no-viewer').hidden = true;
    data.layers.filter((layer) => layer.on).forEach((layer) => toggle(layer.key, true));
    new ResizeObserver(fit).observe(canvas);
    window.addEventListener('resize', fit);
    fit();
    root.dataset.ready = 'true';
  }
  start();
})();
