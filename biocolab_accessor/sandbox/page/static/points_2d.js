// Points without WebGL: discs written to the pixels of a canvas, which is faster than drawing 100,000 circles.

export function plainPoints(canvas) {
  const context = canvas.getContext("2d");
  let places = new Float32Array(0);
  let colors = new Uint32Array(0);
  let order = new Uint32Array(0);
  let image = null;
  return {
    kind: "canvas",
    setPlaces(xy) {
      places = xy;
      order = new Uint32Array(0);
    },
    setColors(rgba, sorted) {
      colors = new Uint32Array(rgba.buffer);
      order = sorted;
    },
    draw(scale, x, y, diameter) {
      const { width, height } = canvas;
      if (!width || !height) return;
      if (image?.width !== width || image?.height !== height) image = context.createImageData(width, height);
      const pixels = new Uint32Array(image.data.buffer);
      pixels.fill(0);
      const [columns, rows, reach] = disc(diameter);
      for (let k = 0; k < order.length; k++) {
        const i = order[k];
        const left = Math.round(places[2 * i] * scale + x);
        const top = Math.round(places[2 * i + 1] * scale + y);
        if (!(left >= -reach && left < width + reach && top >= -reach && top < height + reach)) continue;
        const color = colors[i];
        if (left >= reach && left < width - reach && top >= reach && top < height - reach) {
          const base = top * width + left;
          for (let d = 0; d < columns.length; d++) pixels[base + rows[d] * width + columns[d]] = color;
          continue;
        }
        for (let d = 0; d < columns.length; d++) {
          const column = left + columns[d];
          const row = top + rows[d];
          if (column >= 0 && column < width && row >= 0 && row < height) pixels[row * width + column] = color;
        }
      }
      context.putImageData(image, 0, 0);
    },
  };
}

// Offsets of the pixels of a disc.
function disc(diameter) {
  const radius = Math.max(diameter / 2, 0.6);
  const reach = Math.ceil(radius);
  const columns = [];
  const rows = [];
  for (let row = -reach; row <= reach; row++) {
    for (let column = -reach; column <= reach; column++) {
      if (column * column + row * row <= radius * radius) {
        columns.push(column);
        rows.push(row);
      }
    }
  }
  return [columns, rows, reach];
}
