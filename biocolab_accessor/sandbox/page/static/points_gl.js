// Points with WebGL 2: coordinates and colors stay on the graphics card, and a frame is one call.

const VERTEX = `#version 300 es
in vec2 place;
in vec4 color;
uniform vec4 view;
uniform float size;
out vec4 shade;
void main() {
  gl_Position = vec4(place * view.xy + view.zw, 0.0, 1.0);
  gl_PointSize = size + 1.0;
  shade = color;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 shade;
uniform float size;
out vec4 seen;
void main() {
  float away = length(gl_PointCoord - 0.5) * (size + 1.0);
  float cover = clamp(size * 0.5 - away + 0.5, 0.0, 1.0);
  if (cover == 0.0) discard;
  seen = vec4(shade.rgb * cover, cover);
}`;

export function glPoints(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true, powerPreference: "low-power" });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const view = gl.getUniformLocation(program, "view");
  const size = gl.getUniformLocation(program, "size");
  const places = attribute("place", 2, gl.FLOAT, false);
  const colors = attribute("color", 4, gl.UNSIGNED_BYTE, true);
  const order = gl.createBuffer();
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, order);
  let drawn = 0;

  function attribute(name, length, type, normalized) {
    const buffer = gl.createBuffer();
    const location = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, length, type, normalized, 0, 0);
    return buffer;
  }

  return {
    kind: "WebGL",
    setPlaces(xy) {
      gl.bindBuffer(gl.ARRAY_BUFFER, places);
      gl.bufferData(gl.ARRAY_BUFFER, xy, gl.STATIC_DRAW);
      drawn = 0;
    },
    setColors(rgba, sorted) {
      gl.bindBuffer(gl.ARRAY_BUFFER, colors);
      gl.bufferData(gl.ARRAY_BUFFER, rgba, gl.STATIC_DRAW);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, sorted, gl.STATIC_DRAW);
      drawn = sorted.length;
    },
    // Scale and offset are in canvas pixels, downwards; WebGL's coordinates range from -1 to 1, upwards.
    draw(scale, x, y, diameter) {
      const { width, height } = canvas;
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform4f(view, (2 * scale) / width, (-2 * scale) / height, (2 * x) / width - 1, 1 - (2 * y) / height);
      gl.uniform1f(size, diameter);
      gl.drawElements(gl.POINTS, drawn, gl.UNSIGNED_INT, 0);
    },
  };
}
