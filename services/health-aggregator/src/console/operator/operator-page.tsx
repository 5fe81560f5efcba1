import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import '../style/operator.css';
import { TokenForm } from '../operator-sign-in.tsx';
import { commandResult, operatorToken, setOperatorToken } from '../operator-token.ts';

/** Layout of an operator page: a headline, and the content or the sign-in form. */
export const OperatorPage = ({
  title,
  subtitle,
  children,
}: {
  title: string;
  subtitle: string;
  children: ComponentChildren;
}) => {
  const headline = useRef<HTMLHeadingElement>(null);
  // Screen readers announce the page after navigation.
  useEffect(() => headline.current?.focus({ preventScroll: true }), []);
  return (
    <section class="operator-page">
      <header class="page-head">
        <h1 class="headline" tabIndex={-1} ref={headline}>
          {title}
        </h1>
        <p class="subtitle">{subtitle}</p>
      </header>
      {operatorToken.value ? (
        <>
          {children}
          <p class="page-end">
            <button type="button" class="link" onClick={() => setOperatorToken('')}>
              Sign out
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
  <div class="token-required">
    <p>
      This page requires the operator token, <code>OPS_TOKEN</code> of the aggregator. <code>npm start</code> prints it.
      It is kept in this tab only.
    </p>
    <TokenForm />
    {commandResult.value && (
      <p class="notice is-error" role="alert">
        {commandResult.value}
      </p>
    )}
  </div>
);

/** Notice of gateways that did not respond; null means that none could be queried. */
export const UnansweredNotice = ({ gateways }: { gateways: readonly string[] | null | undefined }) => {
  if (gateways === undefined || gateways?.length === 0) return null;
  return (
    <p class="notice is-error" role="status">
      {gateways === null
        ? 'No gateway responded. Connections are unknown, not zero.'
        : `${gateways.join(', ')} did not respond. Connections there are unknown, not zero.`}
    </p>
  );
};

/** Input for a tenant. */
export const TenantField = ({
  label = 'Tenant',
  usual,
  value,
  onInput,
}: {
  label?: string;
  /** The only tenant that the aggregator's API key covers. */
  usual: string | null | undefined;
  value: string;
  onInput: (text: string) => void;
}) => (
  <label class="tenant">
    <span class="field-label">{label}</span>
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

/** Notice that the aggregator's API key covers one tenant only. */
export const SingleTenantNotice = ({ tenant }: { tenant: string | null | undefined }) =>
  tenant == null ? null : (
    <p class="notice" role="status">
      The server API key of this aggregator is limited to tenant {tenant}. Groups and connections of other tenants are
      not shown.
    </p>
  );

/** Suffix with the tenant; empty for the default tenant. */
export const inTenant = (tenant: string): string => (tenant === '' || tenant === 'default' ? '' : ` (${tenant})`);

/** Error notice; nothing without an error. */
export const ErrorNotice = ({ why }: { why: string }) =>
  why === '' ? null : (
    <p class="notice is-error" role="alert">
      {why}
    </p>
  );
