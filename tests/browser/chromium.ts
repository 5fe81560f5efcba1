import { findOrInstall, findProgram } from '@muster/local/programs';
import { type Browser, chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const HELP = `no Chromium was found. Ways out:
  - install one: Debian and Ubuntu: apt-get install chromium; Fedora: dnf install chromium; macOS: Google Chrome
  - put it on PATH as one of: ${NAMES.join(', ')}
  - run the tests as root on a Debian system, which installs it by itself`;

/** The browser of this machine; as root on a Debian system it is installed when there is none. Rejects with the ways out. */
export const openBrowser = async (): Promise<Browser> => {
  const log = (line: string) => void process.stdout.write(`browser tests: ${line}\n`);
  const executablePath = await findOrInstall((path) => findProgram(NAMES, path), 'chromium', {
    env: process.env,
    log,
  });
  if (executablePath === undefined) throw new Error(HELP);
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
};
