import { createMemoryBroker } from '@muster/bus/memory-broker';
import { busConformance } from './broker-conformance.ts';

busConformance('memory', async () => {
  const broker = createMemoryBroker();
  return {
    connect: async (handlers) => broker.connect(handlers),
    cut: async () => broker.stop(),
    restore: async () => broker.start(),
    flush: async () => broker.streams.flush(),
    [Symbol.asyncDispose]: async () => {},
  };
});
