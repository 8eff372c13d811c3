// The views besides the plugins: routes, keys, log, configuration.
import { Age, Table, call, html, useEffect, useState } from "./parts.js";

/** What `path` gives, asked for when the view is opened and every few seconds if it `lives`. */
function useAnswer(path, lives) {
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    const load = () => call(path).then((data) => setAnswer({ data }), (error) => setAnswer((before) => ({ ...before, error })));
    load();
    if (!lives) return undefined;
    const timer = setInterval(load, 5000);
    return () => clearInterval(timer);
  }, [path]);
  return answer;
}

const Trouble = ({ error }) => (error ? html`<p class="problem" role="alert">${error.message}</p>` : null);

/** What the description has of a route: no OPTIONS, nor HEAD beside GET; nothing of files. */
const isDescribed = (route, method) => route.plugin !== null && method !== "OPTIONS" && (method !== "HEAD" || !route.methods.includes("GET"));
/** Where the description of an operation is shown, ready to be tried. */
const inDocs = (plugin, method) => `docs#/${encodeURIComponent(plugin)}/${encodeURIComponent(`${method.toLowerCase()}_${plugin}`)}`;

export function Routes() {
  const { data, error } = useAnswer("routes");
  const [hasDocs, setHasDocs] = useState(false);
  useEffect(() => { fetch("docs", { method: "HEAD" }).then((answer) => setHasDocs(answer.ok), () => {}); }, []);
  const limits = (all) => Object.entries(all).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`).join(", ");
  return html`<h2>Routes</h2><${Trouble} error=${error} />
    ${hasDocs && html`<p><a href="docs">Try them</a>, or one of them by its method.</p>`}
    ${data && html`<${Table} label="Routes" head=${["Path", "Methods", "File", "Who may use it", "Limits"]}>
      ${data.routes.map((route) => html`<tr key=${route.path}><th scope="row"><code>${route.path}</code></th>
        <td>${route.methods.map((method, index) => html`${index > 0 && ", "}${hasDocs && isDescribed(route, method) ? html`<a href=${inDocs(route.plugin, method)}>${method}</a>` : method}`)}</td><td><code>${route.file}</code></td><td>${route.auth}</td><td class="quiet">${limits(route.limits)}</td></tr>`)}
    <//>`}`;
}

export function Keys({ history }) {
  const { data, error } = useAnswer("keys", true);
  const refusals = history ? Object.entries(history.refusals) : [];
  return html`<h2>Keys</h2><${Trouble} error=${error} />
    ${data && (data.keys.length === 0
      ? html`<p class="empty">There are no keys, so the server can be controlled from this machine only. <code>plugincore key new</code> makes one.</p>`
      : html`<${Table} label="Keys" head=${["Name", "Opens", "Expires", "Last used"]}>
        ${data.keys.map((key) => html`<tr key=${key.name}><th scope="row">${key.name}</th><td>${key.scopes.join(", ")}</td>
          <td class=${key.expired ? "bad" : ""}>${key.expires || "never"}${key.expired && " (over)"}</td>
          <td>${key.last_used ? html`<${Age} of=${key.last_used} /> ago` : html`<span class="quiet">not since the start</span>`}</td></tr>`)}
      <//>`)}
    <h2>Refused requests</h2>
    <${Table} label="Refused requests" head=${["Reason", { text: "Since the start", number: true }]}>
      ${refusals.map(([reason, count]) => html`<tr key=${reason}><th scope="row">${reason.replace("_", " ")}</th><td class="number">${count.toLocaleString()}</td></tr>`)}
    <//>`;
}

const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR"];
const KEPT = 500;

export function Log() {
  const [lines, setLines] = useState([]);
  const [error, setError] = useState(null);
  const [words, setWords] = useState("");
  const [level, setLevel] = useState("DEBUG");
  useEffect(() => {
    let last = 0;
    const load = () => call(`log?after=${last}`).then((data) => {
      setError(null);
      if (data.lines.length === 0) return;
      last = data.lines[data.lines.length - 1].number;
      setLines((before) => [...before, ...data.lines].slice(-KEPT));
    }, setError);
    load();
    const timer = setInterval(load, 2000);
    return () => clearInterval(timer);
  }, []);
  const rank = (name) => (LEVELS.indexOf(name) < 0 ? LEVELS.length : LEVELS.indexOf(name));
  const wanted = words.toLowerCase();
  const shown = lines.filter((line) => rank(line.level) >= rank(level) && `${line.name} ${line.text}`.toLowerCase().includes(wanted)).reverse();
  return html`<h2>Log</h2><${Trouble} error=${error} />
    <form class="filter" onSubmit=${(event) => event.preventDefault()}>
      <label>Level from <select value=${level} onChange=${(event) => setLevel(event.target.value)}>${LEVELS.map((name) => html`<option>${name}</option>`)}</select></label>
      <label>With <input type="search" value=${words} placeholder="text, plugin or request id" onInput=${(event) => setWords(event.target.value)} /></label>
      <span class="quiet" role="status">${shown.length} of ${lines.length} lines, newest first</span>
    </form>
    <div class="scroll log" role="region" aria-label="Lines of the log" tabIndex="0"><ol>
      ${shown.map((line) => html`<li key=${line.number} class=${line.level.toLowerCase()}><time dateTime=${line.time}>${new Date(line.time).toLocaleTimeString([], { hour12: false })}</time>
        <span class="level">${line.level}</span> <span class="quiet">${line.name}</span> <span class="text">${line.text}</span></li>`)}
    </ol></div>`;
}

/** What a reload of everything would change, or what is wrong with the file. */
function Check() {
  const [result, setResult] = useState(null);
  const check = async () => {
    setResult({ text: "Reading the file …" });
    try {
      const { changes } = await call("diff");
      setResult({ text: changes.length ? "A reload of everything would change:" : "The file is without errors, and what it says is in force.",
        lines: changes.map(({ section, key, effect }) => `[${section}] ${key}: ${effect}`) });
    } catch (error) {
      setResult({ text: error.message, lines: error.reasons, isBad: true });
    }
  };
  return html`<p class="check"><button onClick=${check}>Check the file</button></p>
    <div role="status" class=${result && result.isBad ? "problem" : ""}>${result && html`<p>${result.text}</p>
      <ul>${(result.lines || []).map((line) => html`<li><code>${line}</code></li>`)}</ul>`}</div>`;
}

export function Configuration({ status }) {
  const { data, error } = useAnswer("config");
  return html`<h2>Configuration</h2><${Trouble} error=${error} />
    <dl>
      <dt>File</dt><dd><code>${data ? data.file || "none; defaults are in force" : ""}</code></dd>
      <dt>Version</dt><dd>plugincore ${status.version}${status.python ? `, Python ${status.python}` : ""}</dd>
      <dt>Listens on</dt><dd>${status.listening.join(", ")}</dd>
      <dt>Log level</dt><dd>${status.log_level}</dd>
    </dl>
    <${Check} />
    ${data && data.sections.map((section) => html`<section key=${section.name}><h3>[${section.name}]</h3>
      <${Table} label=${`Section ${section.name}`} head=${["Key", "Value", "Where"]}>
        ${section.items.map((item) => html`<tr key=${item.key}><th scope="row"><code>${item.key}</code></th><td><code>${item.value}</code></td><td class="quiet">${item.place}</td></tr>`)}
      <//></section>`)}`;
}
