import { FIGURES, titleOf, type FigureName } from '../figures.js';
import { installExtra, requireExtra } from '../extras.js';
import type { Report } from './report.js';
import type { SystemName } from '../systems/catalogue.js';

const WIDTH = 960;
const PANEL_HEIGHT = 260;
const PANEL_GAP = 80;
const TOP = 90;
const SIDE = 70;
const BOTTOM = 50;

/** The figures of the requests that are drawn, each in a panel of its own. */
const PANELS: readonly FigureName[] = ['rate', 'p50', 'cpu'];

/** What is used of the library, which is not there when this is compiled. */
interface Charts {
  init: (
    dom: null,
    theme: null,
    options: { renderer: 'svg'; ssr: true; width: number; height: number },
  ) => { setOption(option: object): void; renderToSVGString(): string; dispose(): void };
}

/** A chart of the requests: their medians by system and number in flight. Throws where none were measured. */
export function toSvg(report: Report, say: (line: string) => void): string {
  const rows = report.measures.find(({ name }) => name === 'requests')?.rows ?? [];
  if (rows.length === 0) {
    throw new Error('--svg draws the requests, and these were not measured');
  }
  installExtra('chart', say);
  const { init } = requireExtra<Charts>('chart', 'echarts');
  const height = TOP + PANELS.length * (PANEL_HEIGHT + PANEL_GAP) - PANEL_GAP + BOTTOM;
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  try {
    chart.setOption(optionOf(rows));
    return chart.renderToSVGString();
  } finally {
    chart.dispose();
  }
}

function optionOf(rows: Report['measures'][number]['rows']): object {
  const systems = unique(rows.map(({ system }) => system));
  const settings = unique(rows.map(({ setting }) => setting));
  const value = (system: SystemName, setting: string, figure: FigureName): number | undefined => {
    const row = rows.find((each) => each.system === system && each.setting === setting);
    const median = row?.figures[figure]?.median;
    return median === undefined ? undefined : Number(median.toFixed(FIGURES[figure].digits));
  };
  return {
    backgroundColor: '#fff',
    animation: false,
    legend: { top: 10, data: systems },
    grid: PANELS.map((_, i) => ({ left: SIDE, right: 20, top: topOf(i), height: PANEL_HEIGHT })),
    xAxis: PANELS.map((_, i) => ({ type: 'category', gridIndex: i, data: settings })),
    yAxis: PANELS.map((figure, i) => ({
      // Between one and a thousand in flight lie orders of magnitude.
      type: 'log',
      gridIndex: i,
      name: titleOf(figure, 'request'),
    })),
    series: PANELS.flatMap((figure, i) =>
      systems.map((system) => ({
        type: 'bar',
        name: system,
        xAxisIndex: i,
        yAxisIndex: i,
        data: settings.map((setting) => value(system, setting, figure) ?? '-'),
      })),
    ),
  };
}

function topOf(panel: number): number {
  return TOP + panel * (PANEL_HEIGHT + PANEL_GAP);
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
