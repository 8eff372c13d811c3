// What the last hour looked like: charts of the server, and a line for each plugin.
import { html, rate, took, useEffect, useRef } from "./parts.js";

const COLOURS = ["--one", "--two"];
const HEIGHT = 150;
const dark = matchMedia("(prefers-color-scheme: dark)");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** What uPlot draws with, in the colours of the moment. */
function options(width, names, show) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  return {
    width, height: HEIGHT, legend: { show: false }, cursor: { show: false }, padding: [8, 20, 0, 0],
    scales: { y: { range: (chart, low, high) => [0, Math.max(high || 0, 1e-6) * 1.1] } },
    axes: [{ ...axis, size: 26, space: 90, values: (chart, times) => times.map((time) => new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false })) },
      { ...axis, size: 56, values: (chart, numbers) => numbers.map(show) }],
    series: [{}, ...names.map((name, index) => ({ label: name, stroke: colour(COLOURS[index]), width: 1.5, points: { show: false },
      dash: index ? [5, 3] : undefined }))],
  };
}

/** A chart with its title, and in words what its lines say now. */
export function Chart({ title, times, lines, show }) {
  const place = useRef();
  const chart = useRef();
  const data = useRef();
  data.current = [times, ...lines.map((line) => line.values)];
  useEffect(() => {
    const draw = () => {
      if (chart.current) chart.current.destroy();
      chart.current = new uPlot(options(place.current.clientWidth, lines.map((line) => line.name), show), data.current, place.current);
    };
    draw();
    const resized = new ResizeObserver(() => chart.current.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    resized.observe(place.current);
    dark.addEventListener("change", draw);
    return () => { resized.disconnect(); dark.removeEventListener("change", draw); chart.current.destroy(); };
  }, []);
  useEffect(() => { chart.current.setData(data.current); });
  const last = (line) => line.values.findLast((value) => value !== null && value !== undefined);
  return html`<figure>
    <figcaption>
      <h3>${title}</h3>
      <ul>${lines.map((line, index) => html`<li class=${`line line-${index + 1}`}>${line.name} <strong>${show(last(line))}</strong></li>`)}</ul>
    </figcaption>
    <div class="chart" ref=${place} aria-hidden="true"></div>
  </figure>`;
}

/** The samples of the server as lines over time. */
export function Charts({ history }) {
  const { interval, time, server } = history;
  const times = server.map((_, index) => time - (server.length - 1 - index) * interval);
  const column = (index, map = (value) => value) => server.map((sample) => map(sample[index]));
  const per_second = (count) => count / interval;
  return html`<div class="charts">
    <${Chart} title="Requests per second" times=${times} show=${rate}
      lines=${[{ name: "all", values: column(0, per_second) }, { name: "failed", values: column(1, per_second) }]} />
    <${Chart} title="Time to answer" times=${times} show=${took}
      lines=${[{ name: "p50", values: column(3) }, { name: "p99", values: column(4) }]} />
  </div>`;
}

const SHOWN = 60;

/** Requests of the last minutes as a small line. */
export function Spark({ samples }) {
  const last = (samples || []).slice(-SHOWN).map((sample) => sample[0]);
  if (last.length < 2) return html`<svg class="spark" viewBox="0 0 60 16" aria-hidden="true"></svg>`;
  const most = Math.max(...last, 1);
  const points = last.map((value, index) => `${60 - (last.length - 1 - index) * (60 / (SHOWN - 1))},${15 - (value / most) * 14}`);
  return html`<svg class="spark" viewBox="0 0 60 16" aria-hidden="true"><polyline points=${points.join(" ")} /></svg>`;
}

/** What a plugin does now, by its newest sample. */
export function now(history, id) {
  const samples = history && history.plugins[id];
  if (!samples || samples.length === 0) return { rate: 0, p50: null, p99: null };
  const [requests, , , p50, p99] = samples[samples.length - 1];
  return { rate: requests / history.interval, p50, p99 };
}

/** The history with one more sample, as the stream of events brings it. */
export function extended(history, { time, server, plugins, refusals }) {
  if (!history || time <= history.time) return history;
  const most = 3600 / history.interval;
  const add = (before, sample) => [...(before || []), sample].slice(-most);
  const all = { ...history.plugins };
  for (const [id, sample] of Object.entries(plugins)) all[id] = add(all[id], sample);
  return { ...history, time, refusals, server: add(history.server, server), plugins: all };
}
