// Palette: colors for labels and numbers, in the two color schemes.
//
// The label colors were chosen one after another, each as far as possible from the earlier ones in OKLab, for full color
// vision and for simulated (Machado 2009) protanopia, deuteranopia and tritanopia; 40 colors differ by at least two just
// noticeable differences in each. With more labels colors repeat, and the names on the plot tell the labels apart.

const LABELS = {
  light: "0070af df8720 009f70 c7689f 58a7df b74820 58409f 8f7820 782058 97c780 8778e7 00cfdf 974878 970818 e79fb7 bfbf00 e76060 106850 581080 7850d7 085008 bf8f97 783880 38189f a787ff 687040 8fb7ff 9f80bf 4040bf a76080 b7389f 603038 afa778 6870f7 385830 788f50 78d758 9f58c7 df87b7 df4810",
  dark: "408fd7 e79738 20b787 d780af 8fc7ef d76840 9787df c7b748 af5880 38efd7 c7df50 6068cf 8f60a7 ffbf9f bf4840 b79fff 689768 b770b7 87a7d7 00df80 9738af 8070f7 e79fb7 ff788f a7dfff a73880 507858 806800 808700 b780ff a79f60 c7688f 68bfcf afcf00 bf8f00 9fb768 7870bf 7048cf 70608f ef5070",
};
// From faint to strong: lightness alone orders the colors, so that color vision is not needed.
const RAMP = {
  light: "dde0e4 b5cbd9 7fb0ca 4a8db5 2c6499 26397a 1d1147",
  dark: "3a4049 2a5272 2b7594 45a0a3 82c79a c9e28d fdf6b2",
};
const FAINT = { light: "e4e6e9", dark: "2d323a" };
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

export function labelColor(number) {
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
