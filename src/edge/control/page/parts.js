// What all views share: talking to the server, and small pieces of the page.
export const html = htm.bind(preact.h);
export const { useEffect, useMemo, useRef, useState } = preactHooks;

/** An answer of the server other than success. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body.error || `the server answered ${status}`);
    this.status = status;
    this.code = body.code;
    this.reasons = body.reasons || [];
  }
}

/** Asks the server for `path`, below `/-/api/`; what changes something is sent as JSON. */
export async function call(path, body) {
  const options = { headers: { Accept: "application/json" }, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(`api/${path}`, options);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(answer.status, content);
  return content;
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** Seconds in a form that is read at a glance. */
export function duration(seconds) {
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) || UNITS[3];
  return `${Math.floor(seconds / length)} ${unit}`;
}

/** A time as the age that it has now, with the time itself beside it. */
export function Age({ of }) {
  if (!of) return html`<span class="quiet">–</span>`;
  const seconds = Math.max(0, (Date.now() - Date.parse(of)) / 1000);
  return html`<time dateTime=${of} title=${new Date(of).toLocaleString()}>${duration(seconds)}</time>`;
}

/** Seconds as milliseconds or seconds; a dash if nothing was measured. */
export function took(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const ms = seconds * 1000;
  if (ms >= 10000) return `${(ms / 1000).toFixed(0)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms >= 10 ? ms.toFixed(0) : ms.toFixed(1)} ms`;
}

/** A number with as many digits as matter. */
export function rate(number) {
  if (number === null || number === undefined) return "–";
  return number >= 100 || number === 0 ? Math.round(number).toLocaleString() : number.toFixed(1);
}

/** The state of a plugin: a word, with a colour beside it. */
export function State({ name }) {
  return html`<span class="state ${name}">${name}</span>`;
}

/** A code or a place in a file. */
export const Place = ({ file, line }) => html`<code>${file}${line ? `:${line}` : ""}</code>`;

/** A table that can be scrolled by keyboard where it is too wide. */
export function Table({ label, head, children }) {
  return html`<div class="scroll" role="region" aria-label=${label} tabIndex="0">
    <table>
      <thead><tr>${head.map((name) => html`<th scope="col" class=${name.number ? "number" : name.acts ? "act" : ""}>${name.text ?? name}</th>`)}</tr></thead>
      <tbody>${children}</tbody>
    </table>
  </div>`;
}
