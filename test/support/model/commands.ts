import fc, { type AsyncCommand } from 'fast-check';
import { checkAccount } from './account.js';
import type { GroupModel } from './group-model.js';
import {
  acknowledge,
  comeBack,
  crash,
  deadLetter,
  join,
  lateRead,
  leave,
  publish,
  read,
  replace,
  retire,
  retry,
  startDue,
  sweep,
  take,
  trim,
  type Operation,
} from './operations.js';
import { ORPHANS, ORPHANS_ALONE, ORPHANS_WAITING, SUSPECTS, type StreamSystem } from './stream-system.js';

/** After each operation the whole account is looked at: the shortest failing list of commands is then the story of it. */
class Step<Subject> implements AsyncCommand<GroupModel, StreamSystem> {
  private said = '';

  constructor(
    private readonly operation: Operation<Subject>,
    private readonly index: number,
  ) {}

  check(model: Readonly<GroupModel>): boolean {
    // It is only looked at, which the type does not know of a class with private members.
    return this.choose(model as GroupModel) !== undefined;
  }

  async run(model: GroupModel, system: StreamSystem): Promise<void> {
    const subject = this.choose(model)!;
    this.said = JSON.stringify(subject);
    await this.operation.run(model, system, subject);
    checkAccount(model, await system.snapshot());
  }

  toString(): string {
    return `${this.operation.name}(${this.said})`;
  }

  private choose(model: GroupModel): Subject | undefined {
    return this.operation.choose(model, (list) => list[this.index % list.length]);
  }
}

/** Each operation as often as it is to be tried: those by which an entry gets on, and dies again, more than its end. */
const STEPS: fc.Arbitrary<AsyncCommand<GroupModel, StreamSystem>>[] = [
  ...often(1, join),
  ...often(3, publish),
  ...often(2, read(1)),
  ...often(2, read(3)),
  ...often(2, acknowledge),
  ...often(2, retry),
  ...often(3, startDue),
  ...often(1, deadLetter),
  ...often(1, crash),
  ...often(1, comeBack),
  ...often(1, lateRead),
  ...often(1, sweep),
  ...often(2, retire),
  ...often(1, leave),
  ...often(6, replace),
  ...often(2, take(ORPHANS, 2)),
  ...often(2, take(ORPHANS_ALONE, 1)),
  ...often(2, take(SUSPECTS, 1)),
  ...often(2, take(ORPHANS_WAITING, 2)),
  ...often(1, trim),
];

function often<Subject>(
  weight: number,
  operation: Operation<Subject>,
): fc.Arbitrary<AsyncCommand<GroupModel, StreamSystem>>[] {
  return Array.from({ length: weight }, () =>
    fc.nat({ max: 1_000 }).map((index) => new Step(operation, index)),
  );
}

/** Lists of up to `maxCommands` operations, to be run on what `setUp` gives by `fc.asyncModelRun`. */
export function streamCommands(
  maxCommands: number,
): fc.Arbitrary<Iterable<AsyncCommand<GroupModel, StreamSystem>>> {
  // With its bias fast-check would begin with lists that are too short for anything to go wrong.
  return fc.noBias(fc.commands(STEPS, { maxCommands, size: 'max' }));
}
