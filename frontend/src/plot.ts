// Two plots of the last minutes: executions per second, and their mean duration.

const SVG = "http://www.w3.org/2000/svg";
const POINTS_MAX = 60;
const WIDTH = 120;
const HEIGHT = 24;

function svg(tag: string, attributes: Record<string, string>): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** One plot, with its newest value as text. */
class Line {
  private readonly points: number[] = [];
  private readonly line = svg("polyline", { fill: "none", stroke: "currentColor", "stroke-width": "1.5" });
  private readonly value = document.createElement("span");

  constructor(
    place: HTMLElement,
    private readonly name: string,
    private readonly unit: string,
  ) {
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", "aria-hidden": "true" });
    picture.append(this.line);
    const box = document.createElement("span");
    box.className = "plotted";
    box.append(picture, this.value);
    place.append(box);
  }

  add(value: number): void {
    this.points.push(value);
    if (this.points.length > POINTS_MAX) this.points.shift();
    const most = Math.max(...this.points, 1e-9);
    const step = WIDTH / (POINTS_MAX - 1);
    const drawn = this.points.map((point, index) => {
      const x = WIDTH - (this.points.length - 1 - index) * step;
      return `${x.toFixed(1)},${(HEIGHT - 1 - (point / most) * (HEIGHT - 2)).toFixed(1)}`;
    });
    this.line.setAttribute("points", drawn.join(" "));
    this.value.textContent = `${this.name} ${value < 10 ? value.toFixed(1) : value.toFixed(0)} ${this.unit}`;
  }
}

export class ThroughputPlot {
  private readonly rate: Line;
  private readonly time: Line;
  private last: { ended: number; at: number } | undefined;

  constructor(place: HTMLElement) {
    this.rate = new Line(place, "executions", "/s");
    this.time = new Line(place, "mean", "ms");
  }

  /** Adds a sample: the executions since the start of the service, and their mean duration. */
  add(ended: number, meanWallMs: number): void {
    const at = performance.now();
    // Two samples of one moment have no rate.
    if (this.last && at <= this.last.at) return;
    // A smaller count means that the service was restarted.
    if (this.last && ended >= this.last.ended) {
      this.rate.add(((ended - this.last.ended) * 1_000) / (at - this.last.at));
      this.time.add(meanWallMs);
    }
    this.last = { ended, at };
  }
}
