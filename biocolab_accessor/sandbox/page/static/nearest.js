// Nearest: finds the point closest to a position, with a grid over the square that contains the points.

export class Nearest {
  // Points that are not finite or outside -1 to 1 are never found.
  constructor(xy) {
    const n = xy.length / 2;
    const side = Math.max(1, Math.min(256, Math.ceil(Math.sqrt(n))));
    const box = new Int32Array(n).fill(-1);
    const starts = new Uint32Array(side * side + 1);
    for (let i = 0; i < n; i++) {
      const column = Math.floor(((xy[2 * i] + 1) / 2) * side);
      const row = Math.floor(((xy[2 * i + 1] + 1) / 2) * side);
      if (!(xy[2 * i] >= -1 && xy[2 * i] <= 1 && xy[2 * i + 1] >= -1 && xy[2 * i + 1] <= 1)) continue;
      box[i] = Math.min(row, side - 1) * side + Math.min(column, side - 1);
      starts[box[i] + 1]++;
    }
    for (let b = 0; b < side * side; b++) starts[b + 1] += starts[b];
    const filled = starts.slice();
    this.points = new Uint32Array(starts[side * side]);
    for (let i = 0; i < n; i++) if (box[i] >= 0) this.points[filled[box[i]]++] = i;
    Object.assign(this, { xy, side, starts });
  }

  // The nearest point within `reach`, among equally near ones the one that is drawn last; -1 without one.
  find(x, y, reach) {
    const { xy, side, starts, points } = this;
    const place = (value) => Math.max(0, Math.min(side - 1, Math.floor(((value + 1) / 2) * side)));
    let best = -1;
    let least = reach * reach;
    for (let row = place(y - reach); row <= place(y + reach); row++) {
      for (let column = place(x - reach); column <= place(x + reach); column++) {
        const b = row * side + column;
        for (let k = starts[b]; k < starts[b + 1]; k++) {
          const i = points[k];
          const away = (xy[2 * i] - x) ** 2 + (xy[2 * i + 1] - y) ** 2;
          if (away <= least) [best, least] = [i, away];
        }
      }
    }
    return best;
  }
}
