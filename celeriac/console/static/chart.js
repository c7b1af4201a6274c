// The charts: what ended over time. Each is drawn once, and given new figures every two seconds.
"use strict";

(() => {
  const EVERY = 2000; // milliseconds
  const HEIGHT = 180;
  const [HEAT, LEFT] = [13, 52]; // of a heatmap: the height of a row, and the room for its words
  const STATES = { completed: "completed", retried: "error", failed: "failed" }; // of the jobs that a bar leads to
  const SCALE = { completed: "y", retried: "y", failed: "y", average: "s", longest: "s", share: "%" };
  const NAMES = { ended: ["completed", "retried", "failed"], run: ["average", "longest", "share"] };
  const COLOURS = {
    completed: "--good", retried: "--warn", failed: "--bad", average: "--link", longest: "--quiet", share: "--bad",
  };

  const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const inUtc = () => (localStorage.getItem("celeriac-times") || "UTC") !== "local";
  const two = (number) => String(number).padStart(2, "0");
  const tzDate = (seconds) => (inUtc() ? uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC") : new Date(seconds * 1e3));
  const day = (date) => `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;
  const moment = (seconds) => { const date = tzDate(seconds); return `${date.getFullYear()}-${day(date)} ${time(date)}`; };
  const short = (value) => (value >= 1e6 ? `${value / 1e6} M` : value >= 1e4 ? `${value / 1e3} k` : String(value));
  const shown = (value, unit = "") => (value == null ? "–" : `${Number(value.toPrecision(3)).toLocaleString("en")}${unit}`);

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.kind = figure.dataset.chart;
      this.names = NAMES[this.kind];
      this.place = figure.querySelector(".plot");
      this.readout = figure.querySelector(".readout");
      figure.querySelector("details").addEventListener("toggle", () => this.fillTable());
    }

    async refresh() {
      if (document.hidden && this.plot) return;
      const answer = await fetch(this.figure.dataset.source, { headers: { accept: "application/json" } });
      if (!answer.ok) return; // the page itself says what is wrong
      this.series = (await answer.json()).series;
      this.x = this.series.began.map((each) => Date.parse(each) / 1e3);
      this.draw();
    }

    draw() {
      const data = [this.x, ...(this.kind === "ended" ? this.stacked() : this.lines())];
      if (this.plot) this.plot.setData(data);
      else this.plot = new uPlot(this.options(), data, this.place);
      const table = this.figure.querySelector(".scrolls");
      if (!table.matches(":hover, :focus-within")) this.fillTable(); // no row moves under the pointer
      this.figure.dataset.drawn = this.series.clock;
      this.tell();
    }

    stacked() {
      // The highest first: each lower one is drawn over it.
      const { completed, retried, failed } = this.series;
      const two = completed.map((value, step) => value + retried[step]);
      return [two.map((value, step) => value + failed[step]), two, completed];
    }

    lines() {
      return this.names.map((name) => (name === "share" ? this.share() : this.series[name]));
    }

    share() {
      const { completed, retried, failed } = this.series;
      return completed.map((done, step) => {
        const wrong = retried[step] + failed[step];
        return done + wrong ? (100 * wrong) / (done + wrong) : null;
      });
    }

    options() {
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
      const fromZero = (plot, low, high) => [0, Math.max(high * 1.05 || 0, 1)];
      const whole = Array.from({ length: 30 }, (_, step) => [1, 2, 5][step % 3] * 10 ** Math.floor(step / 3));
      const counts = { ...axis, scale: "y", incrs: whole, size: 52, values: (plot, splits) => splits.map(short) };
      const runs = [
        { ...axis, scale: "s", size: 52, values: (plot, splits) => splits.map((value) => `${value} s`) },
        { ...axis, scale: "%", side: 1, size: 48, grid: { show: false }, values: (plot, splits) => splits.map((value) => `${value} %`) },
      ];
      return {
        width: this.width(), height: HEIGHT, tzDate, padding: [10, 18, 0, 0], legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        scales: {
          x: { range: () => [this.x[0], this.x[this.x.length - 1] + this.series.step] },
          y: { range: fromZero }, s: { range: fromZero }, "%": { range: () => [0, 100] },
        },
        axes: [{ ...axis, size: 28, grid: { show: false }, values: (plot, splits) => this.moments(splits) }, ...(this.kind === "ended" ? [counts] : runs)],
        series: [{}, ...this.drawnNames().map((name) => this.line(name))],
        hooks: {
          setCursor: [() => this.tell()],
          ready: [(plot) => plot.over.addEventListener("click", (event) => this.open(event))],
        },
      };
    }

    drawnNames() {
      return this.kind === "ended" ? [...this.names].reverse() : this.names;
    }

    line(name) {
      const stroke = colour(COLOURS[name]);
      const points = { show: false };
      if (this.kind !== "ended") return { scale: SCALE[name], stroke, width: name === "longest" ? 1 : 2, dash: name === "share" ? [4, 3] : [], points, spanGaps: true };
      return { scale: "y", fill: stroke, width: 0, points, paths: uPlot.paths.bars({ size: [0.85, 60], align: 1 }) };
    }

    moments(splits) {
      const apart = splits.length > 1 ? splits[1] - splits[0] : 60;
      return splits.map((each) => {
        const date = tzDate(each);
        return apart >= 86400 || !(date.getHours() || date.getMinutes()) ? day(date) : time(date);
      });
    }

    width() {
      return Math.max(200, this.place.clientWidth);
    }

    step(left) {
      const found = Math.floor((this.plot.posToVal(left, "x") - this.x[0]) / this.series.step);
      return Math.min(Math.max(found, 0), this.x.length - 1);
    }

    tell() {
      const { left } = this.plot.cursor;
      if (left == null || left < 0) { this.readout.textContent = this.whole(); return; }
      const step = this.step(left);
      const said = this.words(step).join(", ");
      this.readout.textContent = `${moment(this.x[step])}: ${said}`;
    }

    words(step) {
      if (this.kind === "ended") return this.names.map((name) => `${shown(this.series[name][step])} ${name}`);
      return [`average ${shown(this.series.average[step], " s")}`, `longest ${shown(this.series.longest[step], " s")}`, `${shown(this.share()[step], " %")} failed or retried`];
    }

    whole() {
      if (this.kind !== "ended") return "";
      return this.names.map((name) => `${shown(this.series[name].reduce((sum, value) => sum + value, 0))} ${name}`).join(", ");
    }

    open(event) {
      const box = this.plot.over.getBoundingClientRect();
      const step = this.step(event.clientX - box.left);
      if (this.kind !== "ended") return;
      const height = this.plot.posToVal(event.clientY - box.top, "y");
      location.href = this.jobs(step, this.partAt(step, height));
    }

    partAt(step, height) {
      let reached = 0;
      for (const name of this.names) {
        reached += this.series[name][step];
        if (this.series[name][step] && height <= reached) return name;
      }
      return null; // above the bar: all that ended
    }

    jobs(step, name) {
      const url = new URL(this.figure.dataset.jobs, location.href);
      if (name) url.searchParams.set("state", STATES[name]);
      if (name === "retried") return url.href; // they have not ended: those that wait for their next attempt now
      return ended(url.href, this.x[step], this.series.step);
    }

    fillTable() {
      const place = this.figure.querySelector(".scrolls");
      if (!this.series || !this.figure.querySelector("details").open) return;
      const heads = this.kind === "ended" ? this.names : ["average", "longest", "failed or retried"];
      const table = made("table", made("thead", made("tr", ...["began", ...heads].map((name) => made("th", name)))));
      const body = made("tbody");
      for (let step = this.x.length - 1; step >= 0; step--) body.append(this.row(step));
      table.append(body);
      place.replaceChildren(table);
    }

    row(step) {
      const cells = this.kind === "ended" ? this.names.map((name) => this.cell(step, name))
        : [shown(this.series.average[step], " s"), shown(this.series.longest[step], " s"), shown(this.share()[step], " %")];
      return made("tr", ...[moment(this.x[step]), ...cells].map((cell) => made("td", cell)));
    }

    cell(step, name) {
      const value = this.series[name][step];
      if (!value) return "0";
      const link = made("a", shown(value));
      link.href = this.jobs(step, name);
      return link;
    }
  }

  // How long jobs waited or ran: a column for each step, a row for each span of seconds, the darker the more.
  class Heat {
    constructor(figure) {
      this.figure = figure;
      this.of = figure.dataset.chart;
      this.place = figure.querySelector(".plot");
      this.readout = figure.querySelector(".readout");
      this.canvas = made("canvas");
      this.place.append(this.canvas);
      figure.querySelector("details").addEventListener("toggle", () => this.fillTable());
      this.canvas.addEventListener("pointermove", (event) => this.tell(event));
      this.canvas.addEventListener("pointerleave", () => this.tell());
      this.canvas.addEventListener("click", (event) => this.open(event));
    }

    async refresh() {
      if (document.hidden && this.series) return;
      const answer = await fetch(this.figure.dataset.source, { headers: { accept: "application/json" } });
      if (!answer.ok) return;
      this.series = (await answer.json()).series;
      this.x = this.series.began.map((each) => Date.parse(each) / 1e3);
      this.draw();
      const table = this.figure.querySelector(".scrolls");
      if (!table.matches(":hover, :focus-within")) this.fillTable();
      this.figure.dataset.drawn = this.series.clock;
    }

    draw() {
      if (!this.series) return;
      const { counts, bounds } = this.series;
      const [width, height, ratio] = [Math.max(200, this.place.clientWidth), HEAT * (bounds.length + 1) + 20, devicePixelRatio || 1];
      Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
      Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
      const pen = this.canvas.getContext("2d");
      pen.scale(ratio, ratio);
      this.cell = (width - LEFT - 8) / counts.length;
      const most = Math.log1p(Math.max(1, ...counts.flat()));
      pen.fillStyle = colour("--soft")();
      pen.fillRect(LEFT, 0, width - LEFT - 8, HEAT * (bounds.length + 1));
      pen.fillStyle = colour("--link")();
      counts.forEach((column, step) => column.forEach((count, place) => {
        if (!count) return;
        pen.globalAlpha = 0.15 + 0.85 * (Math.log1p(count) / most);
        pen.fillRect(LEFT + step * this.cell, HEAT * (bounds.length - place), Math.max(1, this.cell - 1), HEAT - 1);
      }));
      pen.globalAlpha = 1;
      pen.fillStyle = colour("--quiet")();
      pen.font = "12px system-ui, sans-serif";
      pen.textAlign = "right";
      bounds.forEach((bound, place) => { if (place % 2 === 0) pen.fillText(spoken(bound), LEFT - 6, HEAT * (bounds.length - place) + 4); });
      pen.textAlign = "center";
      const apart = Math.ceil(60 / this.cell);
      for (let step = apart; step < counts.length - 1; step += apart) {
        const date = tzDate(this.x[step]);
        pen.fillText(this.series.step >= 86400 ? day(date) : this.series.step >= 3600 ? `${day(date)} ${two(date.getHours())}` : time(date), LEFT + step * this.cell, height - 4);
      }
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      const step = Math.floor((event.clientX - box.left - LEFT) / this.cell);
      const place = this.series.bounds.length - Math.floor((event.clientY - box.top) / HEAT);
      return this.series.counts[step]?.[place] === undefined ? null : [step, place];
    }

    tell(event) {
      const found = event && this.series && this.at(event);
      if (!found) { this.readout.textContent = ""; return; }
      const [step, place] = found;
      this.readout.textContent = `${moment(this.x[step])}: ${shown(this.series.counts[step][place])} ${this.span(place)}`;
    }

    span(place) {
      const { bounds } = this.series;
      if (place === 0) return `below ${spoken(bounds[0])}`;
      if (place === bounds.length) return `${spoken(bounds[place - 1])} or longer`;
      return `${spoken(bounds[place - 1])} to ${spoken(bounds[place])}`;
    }

    open(event) {
      const found = this.series && this.at(event);
      if (found) location.href = ended(this.figure.dataset.jobs, this.x[found[0]], this.series.step);
    }

    fillTable() {
      if (!this.series || !this.figure.querySelector("details").open) return;
      const { counts, bounds } = this.series;
      const used = [...bounds, Infinity].map((_, place) => place).filter((place) => counts.some((column) => column[place]));
      const body = made("tbody");
      for (let step = counts.length - 1; step >= 0; step--) {
        body.append(made("tr", ...[moment(this.x[step]), ...used.map((place) => shown(counts[step][place]))].map((cell) => made("td", cell))));
      }
      const head = made("thead", made("tr", ...["began", ...used.map((place) => this.span(place))].map((name) => made("th", name))));
      this.figure.querySelector(".scrolls").replaceChildren(made("table", head, body));
    }
  }

  const spoken = (seconds) => (seconds < 1 ? `${seconds * 1e3} ms` : seconds < 60 ? `${seconds} s` : seconds < 3600 ? `${seconds / 60} min` : `${seconds / 3600} h`);

  // The address of the jobs that ended within a step.
  function ended(address, began, seconds) {
    const url = new URL(address, location.href);
    const [from, to] = [began, began + seconds].map((each) => new Date(each * 1e3).toISOString());
    url.searchParams.set("finished-since", from);
    url.searchParams.set("finished-until", to);
    url.searchParams.set("sort", "finished");
    return url.href;
  }

  function made(name, ...children) {
    const element = document.createElement(name);
    element.append(...children);
    return element;
  }

  const charts = [...document.querySelectorAll("figure[data-chart]")].map((figure) => new (figure.dataset.chart in NAMES ? Chart : Heat)(figure));
  const redraw = () => { for (const each of charts) if (each.plot) each.plot.redraw(false, true); else if (each.canvas) each.draw(); };
  const refresh = () => Promise.allSettled(charts.map((each) => each.refresh())).then(() => setTimeout(refresh, EVERY));

  new ResizeObserver(() => { for (const each of charts) if (each.plot) each.plot.setSize({ width: each.width(), height: HEIGHT }); else if (each.canvas) each.draw(); }).observe(document.body);
  new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.getElementById("times").addEventListener("click", () => setTimeout(redraw));
  for (const each of document.querySelectorAll("select[data-submits]")) each.addEventListener("change", () => each.form.requestSubmit());
  refresh();
})();
