// The page: log-in, the frame, and the view that the address names.
import { Charts, Spark, extended, now } from "./charts.js";
import { Configuration, Keys, Log, Routes } from "./views.js";
import { Age, Place, Refusal, State, Table, call, duration, html, rate, took, useEffect, useRef, useState } from "./parts.js";

const REFRESH = 5000;

/** Asks for a key. */
function Login({ onDone }) {
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const field = useRef();
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      onDone(await call("login", { key: field.current.value }));
    } catch (error) {
      setProblem(error.code === "unauthorized" ? "This key is not one that controls the server." : error.message);
      field.current.select();
    }
    setBusy(false);
  };
  return html`<main class="login">
    <h1>plugincore</h1>
    <form onSubmit=${send}>
      <label for="key">Key</label>
      <input id="key" ref=${field} type="password" autocomplete="current-password" required autofocus
        aria-describedby="key-help" aria-invalid=${problem ? "true" : "false"} />
      <p id="key-help" class="quiet">A key of scope <code>control</code>, or <code>apikey</code> of section <code>[auth]</code>.</p>
      <p class="problem" role="alert">${problem}</p>
      <button class="primary" disabled=${busy}>Log in</button>
    </form>
  </main>`;
}

const ACTIONS = {
  reload: ["Reload", "reloaded"],
  disable: ["Disable", "disabled"],
  enable: ["Enable", "enabled"],
  previous: ["Previous", "back to what it was before"],
};

/** The actions that make sense for a plugin in this state. */
function actions(plugin) {
  if (plugin.state === "disabled") return ["enable"];
  if (plugin.state === "draining") return [];
  if (plugin.state === "failed") return ["reload", "disable"];
  return ["reload", "previous", "disable"];
}

/** Why a plugin did not load, or what it held up. */
function Details({ plugin }) {
  const { last_error: error, stalls } = plugin;
  return html`<div class="details">
    <dl>
      <dt>File</dt><dd><${Place} file=${plugin.file} /></dd>
      <dt>Methods</dt><dd>${plugin.methods.join(", ") || "–"}</dd>
      <dt>Requests</dt><dd>${plugin.counters.requests.toLocaleString()}, of them ${plugin.counters.errors} failed; ${plugin.counters.refused} refused</dd>
      <dt>Tasks</dt><dd>${plugin.tasks}</dd>
      ${plugin.previous && html`<dt>Version</dt><dd>what it was before the last change</dd>`}
      ${plugin.parked_for && html`<dt>Parked</dt><dd>for ${duration(plugin.parked_for)} more</dd>`}
    </dl>
    ${error && html`<section class="trouble" aria-label=${`Last error of ${plugin.id}`}>
      <p><strong>${error.message}</strong><br /><${Place} file=${error.file} line=${error.line} /></p>
      ${error.traceback && html`<pre tabIndex="0">${error.traceback}</pre>`}
    </section>`}
    ${stalls.last && html`<section class="trouble mild" aria-label=${`Last stall of ${plugin.id}`}>
      <p><strong>${stalls.last.goes_on ? "Blocks Python now" : "Blocked Python"}, ${took(stalls.last.seconds)}</strong>,
        begun <${Age} of=${stalls.last.begun_at} /> ago; ${stalls.count} ${stalls.count === 1 ? "stall" : "stalls"}, ${took(stalls.seconds)} in all</p>
      ${stalls.last.stack.length > 0 && html`<pre tabIndex="0">${stalls.last.stack.join("\n")}</pre>`}
    </section>`}
  </div>`;
}

/** One plugin: a row, and what there is to know of it below if that is wanted. */
function Plugin({ plugin, history, isOpen, onToggle, onAction, busy }) {
  const { id, counters } = plugin;
  const current = now(history, id);
  const is_blocking = plugin.stalls.last && plugin.stalls.last.goes_on;
  return html`<tr class=${isOpen ? "open" : ""}>
      <th scope="row">
        <button class="name" aria-expanded=${isOpen ? "true" : "false"} onClick=${onToggle}>${id}</button>
        ${plugin.last_error && html`<p class="problem"><${Place} file=${plugin.last_error.file} line=${plugin.last_error.line} /> ${plugin.last_error.message}</p>`}
      </th>
      <td><${State} name=${is_blocking ? "blocking" : plugin.state} /></td>
      <td class="number">${plugin.generation || "–"}</td>
      <td class="number"><${Age} of=${plugin.loaded_at} /></td>
      <td class="number rate"><${Spark} samples=${history && history.plugins[id]} /> ${rate(current.rate)}</td>
      <td class="number">${took(current.p50)}</td>
      <td class="number">${took(current.p99)}</td>
      <td class="number ${counters.errors ? "bad" : ""}">${counters.errors.toLocaleString()}</td>
      <td class="number">${counters.in_flight}</td>
      <td class="actions">${actions(plugin).map((action) => html`
        <button disabled=${busy} onClick=${() => onAction(action)} aria-label=${`${ACTIONS[action][0]} ${id}`}>${ACTIONS[action][0]}</button>`)}</td>
    </tr>
    ${isOpen && html`<tr class="more"><td colSpan="10"><${Details} plugin=${plugin} /></td></tr>`}`;
}

const HEAD = ["Plugin", "State", { text: "Generation", number: true }, { text: "Since", number: true },
  { text: "Requests/s", number: true }, { text: "p50", number: true }, { text: "p99", number: true }, { text: "Errors", number: true }, { text: "In flight", number: true }, { text: "Actions", acts: true }];

/** All plugins, those with trouble first. */
function Plugins({ plugins, history, refresh, say }) {
  const [open, setOpen] = useState(new Set());
  const [busy, setBusy] = useState(new Set());
  const change = (set, setter, id, isIn) => setter((before) => {
    const after = new Set(before);
    if (isIn) after.add(id); else after.delete(id);
    return after;
  });
  const act = async (id, action) => {
    change(busy, setBusy, id, true);
    say(`${ACTIONS[action][0]} ${id} …`);
    try {
      await call(`plugins/${id.split("/").map(encodeURIComponent).join("/")}/${action}`, {});
      say(`${id} is ${ACTIONS[action][1]}.`);
    } catch (error) {
      say([`${id}: ${error.message}`, ...(error.reasons || [])].join("\n"), true);
    }
    change(busy, setBusy, id, false);
    refresh();
  };
  if (plugins.length === 0) return html`<p class="empty">No plugin file is in the folder yet. <code>plugincore new NAME</code> writes one.</p>`;
  const trouble = ({ last_error: error, stalls }) => (error || (stalls.last && stalls.last.goes_on) ? 0 : 1);
  const sorted = [...plugins].sort((a, b) => trouble(a) - trouble(b) || a.id.localeCompare(b.id));
  return html`<${Table} label="Plugins" head=${HEAD}>
    ${sorted.map((plugin) => html`<${Plugin} key=${plugin.id} plugin=${plugin} history=${history} isOpen=${open.has(plugin.id)}
      busy=${busy.has(plugin.id)} onToggle=${() => change(open, setOpen, plugin.id, !open.has(plugin.id))}
      onAction=${(action) => act(plugin.id, action)} />`)}
  <//>`;
}

/** What the server is doing, in a line. */
function Summary({ status, plugins }) {
  const failed = plugins.filter((plugin) => plugin.last_error).length;
  return html`<ul class="summary">
    <li><strong>${plugins.filter((plugin) => plugin.state === "serving").length}</strong> serving</li>
    ${failed > 0 && html`<li class="bad"><strong>${failed}</strong> with errors</li>`}
    <li><strong>${status.in_flight}</strong> in flight</li>
    <li>up <strong><${Age} of=${status.started_at} /></strong></li>
  </ul>`;
}

const VIEWS = { plugins: "Plugins", routes: "Routes", keys: "Keys", log: "Log", configuration: "Configuration" };

/** The view that the address names. */
function useView() {
  const named = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "plugins");
  const [view, setView] = useState(named());
  useEffect(() => {
    const change = () => setView(named());
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  useEffect(() => { document.title = `${VIEWS[view]} - plugincore`; }, [view]);
  return view;
}

function App() {
  const view = useView();
  const [history, setHistory] = useState(null);
  const [session, setSession] = useState(null);
  const [data, setData] = useState(null);
  const [lost, setLost] = useState(false);
  const [message, setMessage] = useState({ text: "", isBad: false });
  const isIn = session && (!session.required || session.key);

  const refresh = async () => {
    try {
      const [status, { plugins }] = await Promise.all([call("status"), call("plugins")]);
      setData({ status, plugins });
      setLost(false);
    } catch (error) {
      if (error instanceof Refusal && error.status < 500) setSession(await call("session").catch(() => null) || session);
      else setLost(true);
    }
  };

  useEffect(() => { call("session").then(setSession, () => setLost(true)); }, []);
  useEffect(() => {
    if (!isIn) return undefined;
    refresh();
    const timer = setInterval(refresh, REFRESH);
    const load = () => call("history").then(setHistory, () => {});
    load();
    const events = new EventSource("api/events?figures=1");
    events.addEventListener("connected", load);
    events.addEventListener("figures", (event) => setHistory((before) => extended(before, JSON.parse(event.data))));
    for (const name of ["plugin_loaded", "plugin_reloaded", "plugin_failed", "plugin_gone", "plugin_disabled",
      "plugin_enabled", "reload_ended", "draining"]) events.addEventListener(name, refresh);
    return () => { clearInterval(timer); events.close(); };
  }, [isIn]);

  const say = (text, isBad = false) => setMessage({ text, isBad });
  const logOut = async () => { setSession(await call("logout", {})); setData(null); };

  if (!session) return html`<main class="login"><h1>plugincore</h1><p role="status">${lost ? "The server does not answer." : ""}</p></main>`;
  if (!isIn) return html`<${Login} onDone=${setSession} />`;
  return html`
    <header>
      <h1>plugincore</h1>
      ${data && html`<${State} name=${lost ? "lost" : data.status.state} /><${Summary} ...${data} />`}
      ${session.key && html`<p class="who"><span class="quiet">Key</span> ${session.key} <button onClick=${logOut}>Log out</button></p>`}
      <nav aria-label="Views"><ul>${Object.entries(VIEWS).map(([name, text]) => html`
        <li><a href=${`#${name}`} aria-current=${name === view ? "page" : undefined}>${text}</a></li>`)}</ul></nav>
    </header>
    <main>
      <div class="message ${message.isBad ? "bad" : ""}" role="status" aria-live="polite">${message.text}</div>
      ${lost && html`<p class="problem" role="alert">The server does not answer; what is shown may be old.</p>`}
      ${view === "plugins" && html`
        ${history && history.server.length > 1 && html`<section aria-label="The last hour"><${Charts} history=${history} /></section>`}
        <h2>Plugins</h2>
        ${data && html`<${Plugins} plugins=${data.plugins} history=${history} refresh=${refresh} say=${say} />`}`}
      ${view === "routes" && html`<${Routes} />`}
      ${view === "keys" && html`<${Keys} history=${history} />`}
      ${view === "log" && html`<${Log} />`}
      ${view === "configuration" && data && html`<${Configuration} status=${data.status} />`}
    </main>
    ${data && html`<footer class="quiet">plugincore ${data.status.version} · process ${data.status.pid} · ${data.status.listening.join(", ")}</footer>`}`;
}

preact.render(html`<${App} />`, document.getElementById("app"));
