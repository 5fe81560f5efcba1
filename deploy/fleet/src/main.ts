import { runLauncher } from './launcher.ts';
import { HELP, parseOptions } from './options.ts';

const parsed = parseOptions(process.argv.slice(2));
if (parsed.is === 'help') process.stdout.write(HELP);
else if (parsed.is === 'invalid') {
  process.stderr.write(`npm start: ${parsed.message}\n`);
  process.exitCode = 2;
} else process.exit(await runLauncher(parsed.options, { env: process.env }));
