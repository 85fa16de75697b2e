import { MEASURES } from './measures/catalogue.js';
import type { BenchOptions } from './options.js';
import { headOf, measureToMarkdown } from './report/markdown.js';
import { reportOf, startReport } from './report/report.js';
import { toSvg } from './report/chart.js';
import { writeJson, writeText } from './report/write.js';
import { installExtra } from './extras.js';
import { SYSTEMS } from './systems/catalogue.js';
import { reasonOf, Results } from './results.js';
import type { Session } from './session.js';

/** Measures what the options ask for, prints it as Markdown while it goes on, and writes it to their files. */
export async function run(session: Session, options: BenchOptions): Promise<void> {
  const report = startReport(options);
  console.log(headOf(report));
  installExtras(session, options);
  for (const name of options.measures) {
    session.say(`Measuring ${name}`);
    const results = new Results();
    await MEASURES[name].run(session, results);
    session.assertRunning();
    const found = reportOf(name, MEASURES[name], results);
    report.measures.push(found);
    console.log(`\n${measureToMarkdown(found)}`);
  }
  writeJson(options.json, report);
  if (options.svg !== undefined) {
    writeText(options.svg, toSvg(report, session.say));
  }
}

/** Installs what the systems need; those of which it cannot be done are reported by every measure. */
function installExtras(session: Session, { systems }: BenchOptions): void {
  for (const system of systems) {
    const { extra } = SYSTEMS[system];
    if (extra !== undefined) {
      try {
        installExtra(extra, session.say);
      } catch (error) {
        session.ruleOut(system, reasonOf(error));
      }
    }
  }
}
