// The light of the hour. World time drives it, so everyone has the same evening; a day lasts DAY_MINUTES.

const DAY_MINUTES = 36;
const FIRST_HOUR = 9; // at tick 0

// hour -> what the light leaves of red, green and blue
const LIGHTS = [
  [0, [0.42, 0.5, 0.78]],
  [4.5, [0.44, 0.52, 0.78]],
  [6, [0.86, 0.74, 0.76]],
  [7.5, [1.0, 0.95, 0.88]],
  [10, [1.0, 1.0, 1.0]],
  [16, [1.0, 1.0, 1.0]],
  [18, [1.0, 0.93, 0.8]],
  [19.3, [1.0, 0.78, 0.62]],
  [20.3, [0.72, 0.62, 0.76]],
  [21.5, [0.48, 0.54, 0.8]],
  [24, [0.42, 0.5, 0.78]],
];

/** The hour of the day, 0..24, at a world time in seconds. */
export function hourAt(worldSeconds) {
  return (FIRST_HOUR + (worldSeconds / (DAY_MINUTES * 60)) * 24) % 24;
}

/** The light of an hour: [red, green, blue], each 0..1. */
export function lightAt(hour) {
  let index = 1;
  while (LIGHTS[index][0] < hour) index += 1;
  const [from, a] = LIGHTS[index - 1];
  const [to, b] = LIGHTS[index];
  const share = (hour - from) / (to - from);
  return a.map((value, channel) => value + (b[channel] - value) * share);
}

/** How much lamps are worth, 0 by day to 1 by night. */
export function darknessAt(hour) {
  const [red, green, blue] = lightAt(hour);
  return Math.min(1, Math.max(0, (1 - (red + green + blue) / 3) * 2.4));
}

/** The hour in words for a clock: "19:05". */
export function clockText(hour) {
  const minutes = Math.floor(hour * 60);
  return `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(Math.floor(minutes % 60 / 5) * 5).padStart(2, "0")}`;
}
