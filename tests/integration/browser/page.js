// Plays one stream from its beginning to its end and reports what there was to see and hear.

import { exactRate, sortFrames, watchFrames } from "./frames.js";
import { playDash, playHls } from "./players.js";

const rounded = (seconds) => Math.round(seconds * 1e6) / 1e6;

async function listen(video, tone) {
  const context = new AudioContext({ sampleRate: 48000 });
  // Worklets are fetched past the driver that serves this page.
  const script = await (await fetch("sound_tap.js")).blob();
  await context.audioWorklet.addModule(URL.createObjectURL(script));
  const tap = new AudioWorkletNode(context, "sound-tap", { processorOptions: { tone } });
  const windows = [];
  tap.port.onmessage = ({ data }) => windows.push(data);
  context.createMediaElementSource(video).connect(tap).connect(context.destination);
  await context.resume();
  return async () => {
    await context.suspend();
    return windows;
  };
}

/**
 * @param {object} options
 * @param {"hls"|"dash"} options.engine
 * @param {string} options.url
 * @param {number} options.rate how many times faster than life it is played
 * @param {number|null} options.height lines of the rendition to stay with; null: the player's choice
 * @param {boolean} options.rotate take another rendition for every segment
 * @param {number|null} options.frame_rate null: as the playlist says
 * @param {boolean} options.numbered whether pictures carry their number
 * @param {number|null} options.tone hertz of the tone that sounds all the time; null: none
 * @param {boolean} options.joins_only look up frames at segment boundaries only
 * @param {number} options.stall_seconds how long nothing may move before playback is given up
 */
async function play(options) {
  const video = document.querySelector("video");
  const report = {
    ended: false,
    stopped: null,
    errors: [],
    waits: [],
    levels: [],
    switches: [],
    live_updates: 0,
    frame_rate: null,
  };
  const finishListening = await listen(video, options.tone);
  const finishWatching = watchFrames(video, options.numbered);
  let engine = null;
  await new Promise((resolve) => {
    let over = false;
    let playing = false;
    let last = 0;
    let moved = performance.now();
    const stop = (why) => {
      if (over) return;
      over = true;
      clearInterval(watchdog);
      report.ended = video.ended;
      report.stopped = why;
      resolve();
    };
    const watchdog = setInterval(() => {
      if (video.currentTime !== last) {
        last = video.currentTime;
        moved = performance.now();
      } else if (performance.now() - moved > options.stall_seconds * 1000) {
        stop(`nothing moved for ${options.stall_seconds} s`);
      }
    }, 250);
    video.addEventListener("playing", () => {
      playing = true;
      video.playbackRate = options.rate;
    });
    video.addEventListener("waiting", () => {
      // A player that seeks over a hole reports it itself.
      if (!playing || over || video.seeking) return;
      const at = video.currentTime;
      const end = Array.from({ length: video.buffered.length }, (_, i) => i)
        .filter((i) => video.buffered.start(i) <= at)
        .reduce((latest, i) => Math.max(latest, video.buffered.end(i)), at);
      report.waits.push({ at: rounded(at), ahead: rounded(end - at) });
    });
    video.addEventListener("ended", () => stop(null));
    video.addEventListener("error", () => stop(`the element failed: ${video.error.message}`));
    engine = (options.engine === "dash" ? playDash : playHls)(video, options, report, stop);
    video.play().catch((error) => {
      // Loading another source interrupts a play() that has not begun; players do that.
      if (error.name !== "AbortError") stop(`play() was refused: ${error.message}`);
    });
  });
  const shown = finishWatching();
  const quality = video.getVideoPlaybackQuality();
  const windows = await finishListening();
  const buffered = Array.from({ length: video.buffered.length }, (_, i) => [
    rounded(video.buffered.start(i)),
    rounded(video.buffered.end(i)),
  ]);
  const rate = exactRate(options.frame_rate ?? report.frame_rate ?? 0);
  const joins = engine.joins();
  const result = {
    ...report,
    errors: [...report.errors],
    frame_rate: rate,
    position: rounded(video.currentTime),
    duration: Number.isFinite(video.duration) ? rounded(video.duration) : null,
    buffered,
    tracks: engine.tracks(),
    joins,
    decoded_frames: quality.totalVideoFrames,
    dropped_frames: quality.droppedVideoFrames,
    sound: windows,
  };
  if (!result.ended || !rate) return { ...result, frames: null };
  const frames = await sortFrames(video, shown, {
    rate,
    numbered: options.numbered,
    joins: options.joins_only ? joins : null,
  });
  return { ...result, frames };
}

window.playThrough = play;
