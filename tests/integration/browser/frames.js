// Which frames a player shows. A frame is known by its media time and, where the test picture
// carries one, by the number painted into it.

/** Bits of the painted number, and the height of the strip that it is painted on. */
const BITS = 12;
const STRIP = 0.08;

/** How long a frame is sought, and after how many that were not found the search ends. */
const PATIENCE_MS = 1000;
const ENOUGH = 10;

const canvas = new OffscreenCanvas(BITS * 8, 8);
const pen = canvas.getContext("2d", { willReadFrequently: true });

/**
 * Returns time and painted number of what the element shows now; both are of the same frame.
 */
export function shownFrame(video, numbered) {
  const frame = new VideoFrame(video);
  try {
    const time = frame.timestamp / 1e6;
    if (!numbered) return { time, number: null };
    const { displayWidth: width, displayHeight: height } = frame;
    pen.drawImage(frame, 0, 0, width, height * STRIP, 0, 0, canvas.width, canvas.height);
    const { data } = pen.getImageData(0, canvas.height / 2, canvas.width, 1);
    let number = 0;
    for (let bit = 0; bit < BITS; bit += 1) {
      if (data[4 * (bit * 8 + 4)] > 127) number += 2 ** bit;
    }
    return { time, number };
  } finally {
    frame.close();
  }
}

/** Frame rates as playlists write them, with three decimals, are those of television where near. */
export function exactRate(rate) {
  const thousandOne = Math.round(rate * 1.001) / 1.001;
  return Math.abs(thousandOne - rate) < 0.001 ? thousandOne : rate;
}

/**
 * Collects the frames that are presented while the element plays.
 */
export function watchFrames(video, numbered) {
  const shown = [];
  let watching = true;
  const look = () => {
    if (!watching) return;
    shown.push(shownFrame(video, numbered));
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  return () => {
    watching = false;
    return shown;
  };
}

function isBuffered(video, time) {
  const { buffered } = video;
  return Array.from({ length: buffered.length }).some(
    (_, i) => buffered.start(i) <= time && time < buffered.end(i),
  );
}

/**
 * Seeks to `time` and returns the frame that is shown there once `wanted` says so of one, or `null`.
 */
async function frameAt(video, time, numbered, wanted) {
  const deadline = performance.now() + PATIENCE_MS;
  video.currentTime = time;
  while (performance.now() < deadline) {
    if (!video.seeking) {
      const frame = shownFrame(video, numbered);
      if (wanted(frame)) return frame;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return null;
}

/**
 * Sorts frames onto the grid of the frame rate.
 *
 * A slow machine does not present every frame, so what playback left out is looked up one by one
 * afterwards: a frame is missing only if the stream has none to show at its time.
 *
 * @param {number} rate frames per second
 * @param {number[]} joins seconds; where given, only frames near to them are looked up
 */
export async function sortFrames(video, shown, { rate, numbered, joins }) {
  const count = Math.round(video.duration * rate);
  const result = {
    expected: count,
    shown: 0,
    late: [],
    missing: [],
    off_grid: [],
    backward: [],
    wrong_pictures: [],
  };
  const numbers = new Map();
  const indexOf = (time) => {
    const index = Math.round(time * rate);
    return Math.abs(time * rate - index) < 0.25 ? index : null;
  };
  let before = -Infinity;
  for (const { time, number } of shown) {
    if (time < before) result.backward.push(time);
    before = time;
    const index = indexOf(time);
    if (index === null) result.off_grid.push(time);
    else numbers.set(index, number);
  }
  result.shown = numbers.size;
  const wanted = (index) =>
    joins === null || joins.some((join) => Math.abs(index / rate - join) <= 3 / rate);
  for (let index = 0; index < count && result.missing.length < ENOUGH; index += 1) {
    if (numbers.has(index) || !wanted(index)) continue;
    const middle = (index + 0.5) / rate;
    const found = isBuffered(video, middle)
      ? await frameAt(video, middle, numbered, ({ time }) => indexOf(time) === index)
      : null;
    if (found !== null) {
      result.late.push(index);
      numbers.set(index, found.number);
    } else {
      result.missing.push(index);
    }
  }
  if (numbered) {
    for (const [index, number] of [...numbers].sort(([a], [b]) => a - b)) {
      if (number !== index % 2 ** BITS) result.wrong_pictures.push([index, number]);
    }
  }
  return result;
}
