// The two players behind one face: attach them, lock or rotate the rendition, and log what they say.

/* global Hls, dashjs */

const rounded = (seconds) => Math.round(seconds * 1e6) / 1e6;

const rangesOf = (buffered) =>
  Array.from({ length: buffered.length }, (_, i) => [
    rounded(buffered.start(i)),
    rounded(buffered.end(i)),
  ]);

/**
 * Plays an HLS stream with hls.js.
 *
 * @param {HTMLVideoElement} video
 * @param {{url: string, height: number|null, rotate: boolean}} options
 * @param {{errors: object[], switches: object[], live_updates: number}} report what is added to
 * @param {(why: string) => void} stop called when nothing more will be played
 */
export function playHls(video, options, report, stop) {
  const hls = new Hls({
    autoStartLoad: false,
    backBufferLength: Infinity,
    maxBufferLength: 3600,
    maxMaxBufferLength: 3600,
    maxBufferSize: 1e9,
  });
  const buffers = {};
  let main = null;
  hls.on(Hls.Events.ERROR, (_, data) => {
    // Whoever rotates breaks off loads of the player.
    if (options.rotate && data.details === Hls.ErrorDetails.INTERNAL_ABORTED) return;
    report.errors.push({
      details: data.details,
      fatal: data.fatal,
      reason: String(data.reason ?? data.error?.message ?? ""),
      status: data.response?.code ?? null,
      at: rounded(video.currentTime),
    });
    if (data.fatal) stop(`fatal error of hls.js: ${data.details}`);
  });
  hls.on(Hls.Events.MANIFEST_PARSED, () => {
    report.levels = hls.levels.map((level) => level.height);
    report.frame_rate = hls.levels[0].frameRate || null;
    if (options.height !== null) {
      const level = report.levels.indexOf(options.height);
      if (level < 0) {
        stop(`no rendition has ${options.height} lines: ${report.levels.join(", ")}`);
        return;
      }
      hls.startLevel = level;
      hls.loadLevel = level;
    } else if (options.rotate) {
      hls.startLevel = 0;
      hls.loadLevel = 0;
    }
    hls.startLoad();
  });
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => {
    report.switches.push({ at: rounded(video.currentTime), height: hls.levels[level].height });
  });
  hls.on(Hls.Events.LEVEL_UPDATED, (_, { details }) => {
    main = details;
    if (details.live) report.live_updates += 1;
  });
  hls.on(Hls.Events.FRAG_BUFFERED, (_, { frag }) => {
    if (options.rotate && frag.type === "main" && frag.sn !== "initSegment") {
      hls.loadLevel = (frag.level + 1) % hls.levels.length;
    }
  });
  hls.on(Hls.Events.BUFFER_CREATED, (_, { tracks }) => {
    for (const [name, { buffer }] of Object.entries(tracks)) buffers[name] = buffer;
  });
  hls.loadSource(options.url);
  hls.attachMedia(video);
  return {
    tracks: () =>
      Object.fromEntries(
        Object.entries(buffers).map(([name, buffer]) => [name, rangesOf(buffer.buffered)]),
      ),
    joins: () => (main?.fragments ?? []).map((fragment) => rounded(fragment.start)),
  };
}

/**
 * Plays an MPEG-DASH stream with dash.js. Same parameters as `playHls`; nothing is rotated.
 */
export function playDash(video, options, report, stop) {
  const { MediaPlayer } = dashjs;
  const { events } = MediaPlayer;
  const player = MediaPlayer().create();
  player.updateSettings({
    streaming: {
      abr: { autoSwitchBitrate: { video: options.height === null } },
      buffer: {
        bufferToKeep: 3600,
        bufferTimeDefault: 3600,
        bufferTimeAtTopQuality: 3600,
        bufferTimeAtTopQualityLongForm: 3600,
      },
    },
  });
  player.on(events.ERROR, ({ error }) => {
    report.errors.push({
      details: `dash.js ${error.code}`,
      fatal: true,
      reason: String(error.message),
      status: null,
      at: rounded(video.currentTime),
    });
    stop(`error of dash.js: ${error.message}`);
  });
  player.on(events.GAP_CAUSED_INTERNAL_SEEK ?? "gapCausedInternalSeek", (gap) => {
    report.errors.push({
      details: "dash.js jumped a gap",
      fatal: false,
      reason: `${gap.seekTime}`,
      status: null,
      at: rounded(video.currentTime),
    });
  });
  player.on(events.QUALITY_CHANGE_RENDERED, ({ mediaType, newRepresentation }) => {
    if (mediaType === "video") {
      report.switches.push({ at: rounded(video.currentTime), height: newRepresentation.height });
    }
  });
  player.on(events.STREAM_INITIALIZED, () => {
    const ladder = player.getRepresentationsByType("video");
    report.levels = ladder.map((representation) => representation.height);
    report.frame_rate = Number(ladder[0]?.frameRate) || null;
    if (options.height !== null) {
      const chosen = ladder.find((representation) => representation.height === options.height);
      if (chosen) player.setRepresentationForTypeById("video", chosen.id, true);
      else stop(`no rendition has ${options.height} lines: ${report.levels.join(", ")}`);
    }
  });
  player.initialize(video, options.url, true);
  return { tracks: () => ({}), joins: () => [] };
}
