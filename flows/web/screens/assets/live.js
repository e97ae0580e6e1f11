// The browser's side of a page: puts what is pushed into its places, draws charts, tells how fresh it all is.
import { echarts } from "nicegui-echart";

const RETRY = [500, 1000, 2000, 4000]; // ms
const WARN = 5, BAD = 30; // seconds without figures
const LOST = 4; // seconds without a word from the dashboard

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
const day = (ms) => new Date(ms).toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });

function moment(ms) {
  const today = new Date().toDateString() === new Date(ms).toDateString();
  return today ? clock(ms) : `${day(ms)}, ${clock(ms).slice(0, 5)}`;
}

function ago(seconds) {
  if (seconds < 2) return "now";
  if (seconds < 120) return `${Math.round(seconds)} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} d ago`;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  return size >= 1e4 ? `${+(value / 1e3).toPrecision(3)} k` : `${+value.toPrecision(6)}`;
}

/** A copy of `option` in which colours of the style sheet stand for their names. */
function coloured(option) {
  if (typeof option === "string") return option.replace(/var\((--[\w-]+)\)/g, (_, name) => css(name));
  if (Array.isArray(option)) return option.map(coloured);
  if (option === null || typeof option !== "object") return option;
  return Object.fromEntries(Object.entries(option).map(([key, value]) => [key, coloured(value)]));
}

export default {
  template: "<div><div ref='place'></div><slot></slot></div>",
  props: { page: String, layout: String },
  mounted() {
    this.$refs.place.innerHTML = this.layout;
    this.charts = new Map();
    this.held = new Map();
    this.tries = 0;
    this.heard = Date.now();
    this.skew = 0;
    this.observer = new ResizeObserver((seen) => seen.forEach(({ target }) => this.charts.get(target)?.chart.resize()));
    this.theme = this.$el.querySelector("[data-theme-switch]");
    this.theme?.addEventListener("click", () => this.turn());
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.charts.forEach((known) => this.draw(known));
    this.dark.addEventListener("change", this.redraw);
    this.label();
    this.changes = new MutationObserver(() => this.$el.querySelector("time:is([data-at], [data-ago]):empty") && this.tick());
    this.changes.observe(this.$el, { childList: true, subtree: true });
    this.timer = setInterval(() => this.tick(), 1000);
    if (this.page) this.connect();
    this.tick();
  },
  beforeUnmount() {
    clearInterval(this.timer);
    this.dark.removeEventListener("change", this.redraw);
    this.observer.disconnect();
    this.changes.disconnect();
    this.charts.forEach(({ chart }) => chart.dispose());
    this.gone = true;
    this.socket?.close();
  },
  methods: {
    connect() {
      this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live/${this.page}`);
      this.socket.onmessage = ({ data }) => {
        this.tries = 0;
        this.apply(JSON.parse(data));
      };
      this.socket.onclose = () => {
        if (!this.gone) setTimeout(() => this.connect(), RETRY[Math.min(this.tries++, RETRY.length - 1)]);
      };
    },
    apply(message) {
      this.heard = Date.now();
      this.standing = message.standing;
      this.skew = this.heard - message.standing.now;
      for (const [place, html] of Object.entries(message.html ?? {})) this.put(place, html);
      for (const [place, option] of Object.entries(message.charts ?? {})) this.chart(place, option);
      this.tick();
    },
    put(place, html) {
      const at = this.$el.querySelector(`[data-html="${place}"]`);
      if (!at) return;
      if (this.pointed(at)) {
        this.held.set(at, html); // nothing moves away from under a pointer
        return;
      }
      this.held.delete(at);
      const active = at.contains(document.activeElement) ? document.activeElement : null;
      const scrolled = at.querySelector(".scroll")?.scrollLeft;
      at.innerHTML = html;
      if (scrolled) at.querySelector(".scroll")?.scrollTo(scrolled, 0);
      if (active) this.refocus(at, active);
    },
    pointed(at) {
      const list = at.querySelector(".lines");
      return list && ((matchMedia("(hover: hover)").matches && list.matches(":hover")) || list.matches(":focus-within"));
    },
    refocus(at, active) {
      const same = ["href", "aria-label"].find((name) => active.hasAttribute(name));
      const found = same && at.querySelector(`[${same}="${CSS.escape(active.getAttribute(same))}"]`);
      if (!found) at.tabIndex = -1;
      (found || at).focus({ preventScroll: true });
    },
    chart(place, option) {
      const at = this.$el.querySelector(`[data-chart="${place}"]`);
      if (!at) return;
      let known = this.charts.get(at);
      if (!known) {
        at.replaceChildren(document.createElement("div"));
        known = { at, chart: echarts.init(at.firstChild) };
        this.charts.set(at, known);
        this.observer.observe(at);
      }
      known.option = option;
      this.draw(known);
    },
    draw({ at, chart, option }) {
      const { unit, digits, ...rest } = coloured(option);
      const values = rest.series.flatMap(({ data }) => data.map((each) => each?.value ?? each?.[1] ?? each));
      at.toggleAttribute("data-empty", !values.some((value) => typeof value === "number" && value));
      rest.tooltip.valueFormatter = (value) =>
        value == null ? "–" : `${value.toLocaleString([], { maximumFractionDigits: digits })} ${unit}`;
      rest.yAxis.axisLabel = { ...rest.yAxis.axisLabel, formatter: short };
      rest.textStyle = { fontFamily: getComputedStyle(document.body).fontFamily };
      chart.setOption(rest, { replaceMerge: ["series"] });
    },
    tick() {
      for (const [at, html] of this.held) if (!this.pointed(at)) this.put(at.dataset.html, html);
      this.$el.querySelectorAll("time[data-at]:empty").forEach((each) => {
        const ms = +each.dataset.at;
        each.dateTime = new Date(ms).toISOString();
        each.textContent = moment(ms);
      });
      const now = Date.now() - this.skew;
      this.$el.querySelectorAll("time[data-ago]").forEach((each) => {
        const ms = +each.dataset.ago;
        each.dateTime = new Date(ms).toISOString();
        each.title = moment(ms);
        each.textContent = now - ms < -60000 /* by the shop's clock */ ? day(ms) : ago((now - ms) / 1000);
      });
      if (this.page) this.tell(now);
    },
    tell(now) {
      const silent = (Date.now() - this.heard) / 1000;
      const { told = 0, problem = "", since = 0, clock: log = 0 } = this.standing ?? {};
      const age = told ? Math.max(0, (now - told) / 1000) : 0;
      let state = "live", said = "Live", banner = "";
      if (silent > LOST) {
        [state, said] = ["bad", "Offline"];
        banner = `The dashboard has not answered for ${Math.round(silent)} s. It is tried again all the time.`;
      } else if (problem) {
        [state, said] = ["bad", "No connection"];
        banner = `${problem}, since ${moment(since)}. What you see is what was known then; it goes on by itself.`;
      } else if (!told) {
        [state, said] = ["warn", "Waiting for figures"];
      } else if (age > WARN) {
        [state, said] = [age > BAD ? "bad" : "warn", `No figures for ${ago(age).replace(" ago", "")}`];
      }
      const pill = this.$el.querySelector("[data-pill]");
      pill.dataset.state = state;
      pill.querySelector("b").textContent = said;
      pill.querySelector("time").textContent = told ? moment(told) : "";
      const apart = told && Math.abs(log - told) > 60000;
      pill.querySelector("small").textContent = apart ? `shop time ${day(log)}, ${clock(log).slice(0, 5)}` : "";
      this.$el.querySelector(".page").dataset.state = state;
      const bar = this.$el.querySelector("[data-banner]");
      if (bar.textContent !== banner) bar.textContent = banner;
      bar.hidden = !banner;
    },
    turn() {
      const next = { system: "light", light: "dark", dark: "system" }[localStorage.theme ?? "system"];
      localStorage.theme = next;
      document.documentElement.dataset.theme = next;
      this.label();
      this.redraw();
    },
    label() {
      const theme = localStorage.theme ?? "system";
      this.theme?.setAttribute("aria-label", `Colours: ${theme}. Switch`);
      if (this.theme) this.theme.title = `Colours: ${theme}`;
    },
  },
};
