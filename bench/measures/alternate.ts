import type { Deployment, DeploymentPlan } from '../deployment.js';
import { reasonOf, type Figures, type Results } from '../results.js';
import type { Session } from '../session.js';
import type { SystemName } from '../systems/catalogue.js';

/** Takes one sample, under certain circumstances. */
export interface Sampler {
  setting: string;
  take: (deployment: Deployment) => Promise<Figures>;
}

/** A deployment that takes part in all rounds. */
export interface Contestant {
  system: SystemName;
  plan?: DeploymentPlan;
  samplers: readonly Sampler[];
}

/**
 * Has all contestants take their samples by turns, in every round in the other order, so that what slows the machine
 * down slows all of them. One that fails is out, with its reason; the others go on.
 */
export async function alternate(
  session: Session,
  results: Results,
  contestants: readonly Contestant[],
  rounds = session.options.rounds,
): Promise<void> {
  const running = new Map<Contestant, Deployment>();
  const out = async (contestant: Contestant, settings: readonly string[], error: unknown): Promise<void> => {
    const reason = reasonOf(error);
    const { system } = contestant;
    settings.forEach((setting) => results.miss({ system, setting }, reason));
    session.say(`${system} (${settings.join('; ')}): ${reason}`);
    const deployment = running.get(contestant);
    running.delete(contestant);
    if (deployment) {
      await session.drop(deployment);
    }
  };
  for (const contestant of contestants) {
    try {
      running.set(contestant, await session.deploy(contestant.system, contestant.plan));
    } catch (error) {
      const settings = contestant.samplers.map(({ setting }) => setting);
      await out(contestant, settings, error);
    }
  }
  const most = Math.max(0, ...contestants.map(({ samplers }) => samplers.length));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < most; i++) {
      for (const contestant of round % 2 === 0 ? contestants : [...contestants].reverse()) {
        const { system, samplers } = contestant;
        const deployment = running.get(contestant);
        const sampler = samplers[i];
        if (deployment && sampler) {
          try {
            const figures = await sampler.take(deployment);
            results.add({ system, setting: sampler.setting }, round, figures);
          } catch (error) {
            await out(
              contestant,
              samplers.slice(i).map(({ setting }) => setting),
              error,
            );
          }
        }
      }
    }
    session.assertRunning();
    session.say(`round ${round + 1} of ${rounds}`);
  }
  for (const deployment of running.values()) {
    await session.drop(deployment);
  }
}
