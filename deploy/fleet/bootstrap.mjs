// Entry point of `npm start`, `npm test`, `npm run bench` and others: installs the tools, then runs the command.
// Runs on any Node from 20 on with npm, and repeats no step that is done.
import { buildConsole, install, withLock } from './bootstrap/install.mjs';
import { log, runAttached } from './bootstrap/processes.mjs';
import { runCoverage, runSuite, runTests } from './bootstrap/test.mjs';
import { ensureToolchain } from './bootstrap/toolchain.mjs';

const [command, ...args] = process.argv.slice(2);

const prepare = ({ withConsole }) =>
  withLock(async () => {
    const tools = await ensureToolchain();
    await install(tools);
    if (withConsole) await buildConsole(tools);
    return tools;
  });

const COMMANDS = {
  setup: async () => {
    await prepare({ withConsole: true });
    log('setup is complete');
    return 0;
  },
  start: async () => {
    const wantsHelp = args.includes('--help') || args.includes('-h');
    const tools = await prepare({ withConsole: !wantsHelp });
    return runAttached(tools.node, ['deploy/fleet/src/main.ts', ...args], { env: tools.env, channel: true });
  },
  generate: async () => {
    const tools = await prepare({ withConsole: false });
    const code = await runAttached(tools.node, ['deploy/observability/src/main.ts'], { env: tools.env });
    if (code !== 0) return code;
    return runAttached(tools.node, ['tests/architecture/generate.ts'], { env: tools.env });
  },
  pack: async () => {
    const tools = await prepare({ withConsole: false });
    return runAttached(tools.node, ['deploy/publish/pack.mjs', ...args], { env: tools.env });
  },
  coverage: async () => runCoverage(await prepare({ withConsole: true }), args),
  publish: async () => {
    const tools = await prepare({ withConsole: false });
    return runAttached(tools.node, ['deploy/publish/publish.mjs', ...args], { env: tools.env });
  },
  bench: async () => {
    const tools = await prepare({ withConsole: true });
    return runAttached(tools.node, ['tests/bench/main.ts', ...args], { env: tools.env });
  },
  test: async () => {
    const tools = await prepare({ withConsole: true });
    return runTests(tools, args);
  },
  'test:chaos': async () => runSuite(await prepare({ withConsole: true }), 'chaos', args),
  'test:documents': async () => runSuite(await prepare({ withConsole: true }), 'documents', args),
  'test:compose': async () => runSuite(await prepare({ withConsole: true }), 'compose', args),
  conformance: async () => {
    const tools = await prepare({ withConsole: false });
    return runAttached(tools.node, ['tests/conformance/main.ts', ...args], { env: tools.env });
  },
};

const run = COMMANDS[command];
if (run === undefined) {
  process.stderr.write(`bootstrap: unknown command ${command}, expected one of ${Object.keys(COMMANDS).join(', ')}\n`);
  process.exit(2);
}
try {
  process.exit(await run());
} catch (error) {
  process.stderr.write(`\nmuster: ${error.message}\n`);
  process.exit(1);
}
