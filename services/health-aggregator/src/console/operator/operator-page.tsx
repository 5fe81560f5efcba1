import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import '../style/operator.css';
import { commandResult, operatorToken, setOperatorToken } from '../operator-token.ts';
import { TokenForm } from '../token-form.tsx';

/** The frame of an operator's page: a headline, and the page itself for those who have the token. */
export const OperatorPage = ({
  title,
  lede,
  children,
}: {
  title: string;
  lede: string;
  children: ComponentChildren;
}) => {
  const headline = useRef<HTMLHeadingElement>(null);
  // Whoever came by a link or by keyboard hears where they are.
  useEffect(() => headline.current?.focus({ preventScroll: true }), []);
  return (
    <section class="desk">
      <header class="desk-head">
        <h1 class="headline" tabIndex={-1} ref={headline}>
          {title}
        </h1>
        <p class="lede">{lede}</p>
      </header>
      {operatorToken.value ? (
        <>
          {children}
          <p class="desk-end">
            <button type="button" class="link" onClick={() => setOperatorToken('')}>
              Stop being an operator
            </button>
          </p>
        </>
      ) : (
        <TokenRequired />
      )}
    </section>
  );
};

const TokenRequired = () => (
  <div class="gate">
    <p>
      This page is for operators. It takes the token that the aggregator was started with;{' '}
      <code>npm start</code> prints it. It stays in this tab and ends with it.
    </p>
    <TokenForm />
    {commandResult.value && (
      <p class="notice is-bad" role="alert">
        {commandResult.value}
      </p>
    )}
  </div>
);

/** Says whose part of an answer is missing; null when nobody could tell. */
export const UnansweredNotice = ({ gateways }: { gateways: readonly string[] | null | undefined }) => {
  if (gateways === undefined || gateways?.length === 0) return null;
  const who = gateways === null ? 'No gateway' : gateways.join(', ');
  return (
    <p class="notice is-bad" role="status">
      {gateways === null ? 'No gateway answers' : `${who} did not answer`}: what is missing here is unknown,
      not zero.
    </p>
  );
};

/** The field for a tenant, in the form of a page. */
export const TenantField = ({
  label = 'Tenant',
  usual,
  value,
  onInput,
}: {
  label?: string;
  /** The only tenant that this aggregator can see. */
  usual: string | null | undefined;
  value: string;
  onInput: (text: string) => void;
}) => (
  <label class="tenant">
    <span class="label">{label}</span>
    <input
      name="tenant"
      autocomplete="off"
      autocapitalize="off"
      spellcheck={false}
      maxLength={64}
      placeholder={usual ?? 'default'}
      value={value}
      onInput={(event) => onInput(event.currentTarget.value)}
    />
  </label>
);

/** Says that the aggregator can see one tenant only; nothing when it can see all. */
export const SingleTenantNotice = ({ tenant }: { tenant: string | null | undefined }) =>
  tenant == null ? null : (
    <p class="notice" role="status">
      The server API key of this aggregator is for the tenant {tenant}: groups and sockets of other tenants
      are not shown.
    </p>
  );

/** A tenant in the name of something; nothing for the default one. */
export const inTenant = (tenant: string): string =>
  tenant === '' || tenant === 'default' ? '' : ` (${tenant})`;

/** A sentence about what went wrong; nothing when nothing did. */
export const ErrorNotice = ({ why }: { why: string }) =>
  why === '' ? null : (
    <p class="notice is-bad" role="alert">
      {why}
    </p>
  );
