// What a source shows of its streams, and the page of its sources.

export const total = (minutes) => minutes.reduce((sum, count) => sum + count, 0);

/** Adds plots, minute by minute; those of streams at rest are empty. */
export function added(plots) {
  const busy = plots.filter((minutes) => minutes.length);
  if (!busy.length) return [];
  return busy[0].map((_, at) => busy.reduce((sum, minutes) => sum + minutes[at], 0));
}

const latest = (times) => times.filter(Boolean).sort().at(-1) ?? null;
const soonest = (times) => times.filter(Boolean).sort()[0] ?? null;
const sum = (streams, key) => streams.reduce((whole, stream) => whole + stream[key], 0);

/** One source with its streams' figures put together. */
export function summed(source) {
  const { streams } = source;
  const minutes = added(streams.map((stream) => stream.last_hour));
  const lags = streams.map((stream) => stream.lag_seconds).filter((lag) => lag !== null);
  return {
    ...source,
    minutes,
    records: total(minutes),
    lag: lags.length ? Math.max(...lags) : null,
    lastSuccess: latest(streams.map((stream) => stream.last_success_at)),
    nextPoll: soonest(streams.map((stream) => stream.next_poll_at)),
    waiting: sum(streams, "backlog_records"),
    waitingBytes: sum(streams, "backlog_bytes"),
    inTrouble: source.state.state === "Error" || source.health.errors + source.health.warnings > 0,
  };
}
