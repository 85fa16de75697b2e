import 'reflect-metadata';
import { loadSystem } from '../systems/load.js';
import { Work } from '../systems/work.js';
import { childSetup, serveOrders } from './child-side.js';

/* A process that serves one or several services of a system. */

const setup = childSetup();
const work = new Work();
const { createServer } = await loadSystem(setup.system);
const servers = setup.services.map((service) => createServer({ ...setup, service }, work));
for (const server of servers) {
  await server.start();
}
serveOrders({ handled: ({ count }) => work.whenHandled(count) }, async () => {
  await Promise.all(servers.map((server) => server.close()));
});
