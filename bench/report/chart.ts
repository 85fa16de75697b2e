import { installExtra, requireExtra } from '../extras.js';
import { FIGURES, titleOf, type FigureName } from '../figures.js';
import type { Row } from '../results.js';
import type { Report } from './report.js';

/** Across: what is drawn of the requests. Down: how many were in flight. */
const FIGURES_DRAWN: readonly FigureName[] = ['rate', 'p50', 'cpu'];
const NAMES_WIDTH = 110;
const PANEL_WIDTH = 220;
const PANEL_GAP = 60;
const BAR_HEIGHT = 20;
const TITLE_HEIGHT = 44;
const MARGIN = 16;
/** This package's own bars stand out. */
const OWN_COLOR = '#1f5fa8';
const OTHER_COLOR = '#b4c2d3';

/** What is used of the library, which is not there when this is compiled. */
interface Charts {
  init: (
    dom: null,
    theme: null,
    options: { renderer: 'svg'; ssr: true; width: number; height: number },
  ) => { setOption(option: object): void; renderToSVGString(): string; dispose(): void };
}

interface Panel {
  title: string;
  left: number;
  top: number;
  isFirst: boolean;
  bars: { value: number; label: string; color: string }[];
}

/** A chart of the requests: their medians by system and number in flight. Throws where none were measured. */
export function toSvg(report: Report, say: (line: string) => void): string {
  const rows = report.measures.find(({ name }) => name === 'requests')?.rows ?? [];
  if (rows.length === 0) {
    throw new Error('No request could be measured, so there is nothing to draw');
  }
  installExtra('chart', say);
  const { init } = requireExtra<Charts>('chart', 'echarts');
  const systems = unique(rows.map(({ system }) => system));
  const settings = unique(rows.map(({ setting }) => setting));
  const barsHeight = systems.length * BAR_HEIGHT;
  const panels = settings.flatMap((setting, down) =>
    FIGURES_DRAWN.map((figure, across) => ({
      title: `${titleOf(figure, 'request')}, ${setting}`,
      left: NAMES_WIDTH + across * (PANEL_WIDTH + PANEL_GAP),
      top: TITLE_HEIGHT + down * (barsHeight + TITLE_HEIGHT),
      isFirst: across === 0,
      bars: systems.map((system) => barOf(rows, system, setting, figure)),
    })),
  );
  const chart = init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: NAMES_WIDTH + FIGURES_DRAWN.length * (PANEL_WIDTH + PANEL_GAP) + MARGIN,
    height: settings.length * (barsHeight + TITLE_HEIGHT) + MARGIN,
  });
  try {
    chart.setOption(optionOf(panels, systems, barsHeight));
    return chart.renderToSVGString();
  } finally {
    chart.dispose();
  }
}

function barOf(
  rows: readonly Row[],
  system: string,
  setting: string,
  figure: FigureName,
): Panel['bars'][number] {
  const median = rows.find((row) => row.system === system && row.setting === setting)?.figures[figure]
    ?.median;
  const { digits } = FIGURES[figure];
  return {
    value: median ?? 0,
    label:
      median?.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits }) ??
      'not measured',
    color: system === 'redis-streams' ? OWN_COLOR : OTHER_COLOR,
  };
}

function optionOf(panels: readonly Panel[], systems: readonly string[], height: number): object {
  return {
    backgroundColor: '#fff',
    animation: false,
    title: panels.map(({ title, left, top }) => ({
      text: title,
      left,
      top: top - 26,
      padding: 0,
      textStyle: { fontSize: 13 },
    })),
    grid: panels.map(({ left, top }) => ({ left, top, width: PANEL_WIDTH, height })),
    xAxis: panels.map((_, gridIndex) => ({ type: 'value', gridIndex, show: false })),
    yAxis: panels.map(({ isFirst }, gridIndex) => ({
      type: 'category',
      gridIndex,
      data: systems,
      inverse: true,
      axisTick: { show: false },
      axisLabel: { show: isFirst },
    })),
    series: panels.map(({ bars }, index) => ({
      type: 'bar',
      xAxisIndex: index,
      yAxisIndex: index,
      label: { show: true, position: 'right', formatter: ({ dataIndex }: Bar) => bars[dataIndex]!.label },
      data: bars.map(({ value, color }) => ({ value, itemStyle: { color } })),
    })),
  };
}

/** What a label is made for. */
interface Bar {
  dataIndex: number;
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
