// Palette: colours for labels and numbers, in the two colour schemes.
//
// The label colours were chosen one after another, each as far as possible from those before it in OKLab, seen with full
// colour vision and as simulated (Machado 2009) for protanopia, deuteranopia and tritanopia; 40 stay at least two just
// noticeable differences apart in each. More labels than that repeat, and are told apart by names on the plot.

const LABELS = {
  light: "0070af df8720 009f70 c7689f 58a7df b74820 681850 28209f a7bf97 785868 9768ef 8f0000 00cfdf 584080 f75870 5840c7 cf8faf 581878 c7b750 305840 a74097 7080c7 9f8040 8f8fff 607048 7858d7 304800 8fb7ff 187800 871868 9f6087 af87bf 7830a7 68a78f a7af68 585880 9f1848 80afc7 87a740 780038",
  dark: "408fd7 e79738 20b787 d780af 78bfef d76840 875878 cfdfaf 6050d7 b73038 50eff7 efc700 b758a7 9fcf80 708f70 a797ff a7309f 9fef78 9778ff cfa7c7 089700 6870d7 809fd7 b79768 607860 af7897 ffa7af 68d7f7 ff788f a7b768 7858b7 efc7d7 8f7080 bf5050 d760b7 d7b700 87df60 f76018 9f588f af78e7",
};
// From hardly there to strong: lightness alone orders them, so that no colour vision is needed.
const RAMP = {
  light: "dde0e4 b5cbd9 7fb0ca 4a8db5 2c6499 26397a 1d1147",
  dark: "30353d 29506e 2b7594 45a0a3 82c79a c9e28d fdf6b2",
};
const FAINT = { light: "e2e4e7", dark: "2b2f36" };
const MISSING = { light: "c3c6cb", dark: "4a4f58" };

const dark = matchMedia("(prefers-color-scheme: dark)");

export function onScheme(work) {
  dark.addEventListener("change", work);
}

const parse = (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
const scheme = () => (dark.matches ? "dark" : "light");

export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
export const faint = () => parse(FAINT[scheme()]);
export const missing = () => parse(MISSING[scheme()]);

export function labelColour(number) {
  const every = LABELS[scheme()].split(" ");
  return parse(every[number % every.length]);
}

export function ramp() {
  const stops = RAMP[scheme()].split(" ").map(parse);
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (stops.length - 1);
    const from = Math.min(Math.floor(place), stops.length - 2);
    return stops[from].map((value, k) => Math.round(value + (place - from) * (stops[from + 1][k] - value)));
  });
}
