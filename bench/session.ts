import { Deployment, type DeploymentPlan } from './deployment.js';
import type { BenchOptions } from './options.js';
import type { SystemName } from './systems/catalogue.js';

/**
 * Long enough for V8 to have compiled what matters. A single request at a time takes other ways through the code than
 * many do, and there are few of them in a second: measured, this package gets faster for two seconds.
 */
const WARM_UPS = {
  quick: { many: { inFlight: 128, seconds: 0.6 }, single: { inFlight: 1, seconds: 1.5 } },
  full: { many: { inFlight: 128, seconds: 2 }, single: { inFlight: 1, seconds: 4 } },
};
const WARM_UP_EVENTS = 2_000;

/** One run of the benchmark: its options, and all that it has started. */
export class Session {
  private readonly deployments = new Set<Deployment>();
  private readonly unavailable = new Map<SystemName, string>();
  private isOver = false;

  constructor(
    readonly options: Pick<BenchOptions, 'isQuick' | 'systems' | 'rounds' | 'seconds'>,
    /** Tells whoever waits what is going on. */
    readonly say: (line: string) => void,
  ) {}

  /** Starts a deployment and has it do some requests. It is stopped by `close()` at the latest. */
  async deploy(system: SystemName, plan: DeploymentPlan = {}): Promise<Deployment> {
    const reason = this.unavailable.get(system);
    if (reason !== undefined) {
      throw new Error(reason);
    }
    this.assertRunning();
    const deployment = new Deployment(system, plan);
    this.deployments.add(deployment);
    try {
      await deployment.start();
      const { many, single } = this.options.isQuick ? WARM_UPS.quick : WARM_UPS.full;
      await deployment.request(many);
      if (plan.warmsUpSingle) {
        await deployment.request(single);
      }
      if (plan.topics) {
        await deployment.publish(WARM_UP_EVENTS, WARM_UP_EVENTS);
      }
      return deployment;
    } catch (error) {
      await this.drop(deployment);
      throw error;
    }
  }

  /** Stops a deployment. */
  async drop(deployment: Deployment): Promise<void> {
    await deployment.stop();
    this.deployments.delete(deployment);
  }

  /** A system that cannot be started at all. */
  ruleOut(system: SystemName, reason: string): void {
    this.unavailable.set(system, reason);
  }

  /** Throws when the run has been interrupted: what was measured meanwhile is not complete. */
  assertRunning(): void {
    if (this.isOver) {
      throw new Error('The benchmark was interrupted');
    }
  }

  /** Stops all that runs. Nothing can be started afterwards. */
  async close(): Promise<void> {
    this.isOver = true;
    await Promise.all([...this.deployments].map((deployment) => this.drop(deployment)));
  }
}
