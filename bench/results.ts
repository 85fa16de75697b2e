import type { FigureName } from './figures.js';
import { interval, summarize, type Interval, type Summary } from './statistics.js';
import type { SystemName } from './systems/catalogue.js';

/** The figures of one sample. */
export type Figures = Partial<Record<FigureName, number>>;

/** What was measured: a system, and under which circumstances. */
export interface Subject {
  system: SystemName;
  setting: string;
}

/** Two subjects of one measure, to be set against each other by the rounds they were measured in. */
export interface Comparison {
  figure: FigureName;
  of: Subject;
  /** Several are added up. */
  against: readonly Subject[];
}

/** A subject's figures over all rounds. */
export interface Row extends Subject {
  figures: Partial<Record<FigureName, Summary & { samples: number[] }>>;
}

/** The ratios of the rounds. */
export interface Ratio extends Comparison, Summary {
  samples: number[];
  /** Where there are two rounds or more. */
  interval: Interval | undefined;
}

/** A subject that could not be measured. */
export interface Missing extends Subject {
  reason: string;
}

/** Why something failed, for people. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The samples of one measure. */
export class Results {
  readonly missing: Missing[] = [];
  private readonly samples = new Map<string, Subject & { rounds: Map<number, Figures> }>();

  add({ system, setting }: Subject, round: number, figures: Figures): void {
    const key = keyOf({ system, setting });
    const found = this.samples.get(key) ?? { system, setting, rounds: new Map<number, Figures>() };
    found.rounds.set(round, figures);
    this.samples.set(key, found);
  }

  /** Says why there is nothing of a subject, or not all rounds. */
  miss({ system, setting }: Subject, reason: string): void {
    this.missing.push({ system, setting, reason });
  }

  /** By setting, then by system, each in the order in which they came first. */
  rows(): Row[] {
    const settings = new Set([...this.samples.values()].map(({ setting }) => setting));
    return [...settings].flatMap((setting) =>
      [...this.samples.values()]
        .filter((subject) => subject.setting === setting)
        .map(({ system, rounds }) => ({ system, setting, figures: summarizeAll([...rounds.values()]) })),
    );
  }

  /** Left out are those of which there is no round with all subjects. */
  ratios(comparisons: readonly Comparison[]): Ratio[] {
    return comparisons.flatMap((comparison) => {
      const samples = this.ratiosByRound(comparison);
      return samples.length === 0
        ? []
        : [{ ...comparison, ...summarize(samples), samples, interval: interval(samples) }];
    });
  }

  private ratiosByRound({ figure, of, against }: Comparison): number[] {
    const ratios: number[] = [];
    for (const [round, figures] of this.samples.get(keyOf(of))?.rounds ?? []) {
      const others = against.map((subject) => this.samples.get(keyOf(subject))?.rounds.get(round)?.[figure]);
      const sum = others.reduce<number>((total, value) => total + (value ?? Number.NaN), 0);
      const ratio = (figures[figure] ?? Number.NaN) / sum;
      if (Number.isFinite(ratio) && ratio > 0) {
        ratios.push(ratio);
      }
    }
    return ratios;
  }
}

function summarizeAll(rounds: readonly Figures[]): Row['figures'] {
  const names = new Set(rounds.flatMap((figures) => Object.keys(figures) as FigureName[]));
  const summaries: Row['figures'] = {};
  for (const name of names) {
    const samples = rounds.map((figures) => figures[name]).filter((value) => value !== undefined);
    if (samples.length > 0) {
      summaries[name] = { ...summarize(samples), samples };
    }
  }
  return summaries;
}

function keyOf({ system, setting }: Subject): string {
  return `${system} ${setting}`;
}
