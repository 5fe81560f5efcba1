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

/** A command that runs a program of the checkout. */
const program =
  (path, { withConsole = false, ...options } = {}) =>
  async () => {
    const tools = await prepare({ withConsole });
    return runAttached(tools.node, [path, ...args], { env: tools.env, ...options });
  };

/** A command that runs tests. */
const tests = (run) => async () => run(await prepare({ withConsole: true }), args);
const suite = (name) => tests((tools) => runSuite(tools, name, args));

const wantsHelp = args.includes('--help') || args.includes('-h');

const COMMANDS = {
  setup: async () => {
    await prepare({ withConsole: true });
    log('setup is complete');
    return 0;
  },
  start: program('deploy/fleet/src/main.ts', { withConsole: !wantsHelp, channel: true }),
  generate: async () => {
    const tools = await prepare({ withConsole: false });
    const code = await runAttached(tools.node, ['deploy/observability/src/main.ts'], { env: tools.env });
    if (code !== 0) return code;
    return runAttached(tools.node, ['tests/architecture/generate.ts'], { env: tools.env });
  },
  pack: program('deploy/publish/pack.mjs'),
  coverage: tests(runCoverage),
  publish: program('deploy/publish/publish.mjs'),
  bench: program('tests/bench/main.ts', { withConsole: true }),
  test: tests(runTests),
  'test:chaos': suite('chaos'),
  'test:documents': suite('documents'),
  'test:compose': suite('compose'),
  'test:kubernetes': suite('kubernetes'),
  conformance: program('tests/conformance/main.ts'),
  language: program('tests/architecture/language/report.ts'),
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
