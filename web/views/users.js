// The accounts, for an admin: find one, end or restore its access, change what it may do.

import { Problem, inWords, pathOf } from '../api.js';
import { check } from '../access.js';
import { announce } from '../announce.js';
import { h, openModal, setText, uniqueId } from '../dom.js';
import { dateTime } from '../format.js';
import { replaceQuery } from '../router.js';
import * as session from '../session.js';
import { adminHead, admitAdmin, asAdmin } from '../parts/admin.js';
import { confirm } from '../parts/confirm.js';
import { pagedList } from '../parts/pages.js';
import { notice } from '../parts/states.js';

const PAGE = 50;
const SEARCH_AFTER_MS = 250;
const ROLES = [
  ['customer', 'Customer', 'may buy'],
  ['payments', 'Payment service', 'may confirm payments and see all purchases'],
  ['admin', 'Admin', 'may change sales and accounts, and see everything'],
];
const ROLE_NAMES = Object.fromEntries(ROLES);

export function users(page) {
  const { root, query, signal } = page;
  if (!admitAdmin(page, page.again)) return;
  page.setTitle('Users');

  const search = h('input', {
    type: 'search', id: uniqueId('search'), value: query.get('search') ?? '', maxlength: 200, autocomplete: 'off', spellcheck: 'false',
    oninput: () => { clearTimeout(searching); searching = setTimeout(change, SEARCH_AFTER_MS); },
  });
  const role = choice('Role', query.get('role'), [['', 'Any role'], ...ROLES.map(([value, name]) => [value, name])]);
  const disabled = choice('Access', query.get('disabled'), [['', 'Any'], ['false', 'Enabled'], ['true', 'Disabled']]);
  let searching;
  signal.addEventListener('abort', () => clearTimeout(searching), { once: true });

  function choice(label, value, options) {
    const id = uniqueId('filter');
    const control = h('select', { id, onchange: () => change() }, options.map(([of, text]) => h('option', { value: of }, text)));
    control.value = options.some(([of]) => of === value) ? value : '';
    return { control, element: h('div', { class: 'field' }, h('label', { for: id }, label), control) };
  }

  const filters = () => ({ search: search.value.trim(), role: role.control.value, disabled: disabled.control.value });
  const filtered = () => Object.values(filters()).some(Boolean);

  function change() {
    replaceQuery(filters());
    list.load();
  }

  function clear() {
    search.value = role.control.value = disabled.control.value = '';
    search.focus();
    change();
  }

  const list = pagedList({
    kind: 'users', loading: 'Loading the users', row,
    read: async (cursor, own) => (await asAdmin('GET', pathOf('/users', { ...filters(), limit: PAGE, cursor }), { signal: own })).data,
    empty: () => notice({
      title: 'Nobody found', text: filtered() ? 'No account matches these filters.' : 'There is no account yet.',
      action: filtered() ? h('button', { type: 'button', class: 'button', onclick: clear }, 'Clear the filters') : null,
    }),
  }, signal);

  root.append(
    adminHead('/admin/users', 'Users'),
    h('div', { class: 'filter-row', role: 'search' },
      h('div', { class: 'field field-wide' }, h('label', { for: search.id }, 'Name or e-mail'), search),
      role.element, disabled.element),
    list.element);
  return list.load();
}

/// The list item of one account.
function row(first) {
  let user = first;
  const name = h('h2', { class: 'row-title', dir: 'auto' });
  const marks = h('p', { class: 'row-marks' });
  const when = h('p', { class: 'row-note' });
  const problem = h('p', { class: 'form-problem', role: 'alert' });
  const access = h('button', { type: 'button', class: 'button button-small', onclick: () => act(changeAccess) });
  const role = h('button', { type: 'button', class: 'button button-small', onclick: () => act(changeRole) }, 'Change role');
  const naming = h('button', { type: 'button', class: 'button button-small', onclick: () => act(changeNaming) });
  const element = h('li', { class: 'row', 'data-user-id': user.id },
    h('div', { class: 'row-what' }, h('div', { class: 'row-head' }, name, marks), h('p', { class: 'row-note' }, user.email), when),
    h('div', { class: 'row-actions' }, role, naming, access,
      h('a', { class: 'button button-small', href: `/admin/audit?actor=${user.id}`, 'aria-label': `Audit log: ${user.name}` }, 'Audit log')),
    problem);
  let acting = false;

  function update() {
    setText(name, user.name);
    marks.replaceChildren(
      h('span', { class: 'mark', 'data-role': user.role }, ROLE_NAMES[user.role] ?? user.role),
      user.disabled ? h('span', { class: 'mark', 'data-disabled': true }, 'Disabled') : '',
      user.hideName ? h('span', { class: 'mark' }, 'Name hidden') : '',
      isSelf() ? h('span', { class: 'mark' }, 'You') : '');
    setText(when, `${user.lastLoginAt ? `Last login ${dateTime(user.lastLoginAt)}` : 'No login yet'} · registered ${dateTime(user.createdAt)}`);
    setText(access, user.disabled ? 'Enable' : 'Disable');
    access.setAttribute('aria-label', `${user.disabled ? 'Enable' : 'Disable'}: ${user.name}`);
    access.classList.toggle('button-danger-quiet', !user.disabled);
    role.setAttribute('aria-label', `Change role: ${user.name}`);
    setText(naming, user.hideName ? 'Show name' : 'Hide name');
    naming.setAttribute('aria-label', `${user.hideName ? 'Show name' : 'Hide name'}: ${user.name}`);
  }

  const isSelf = () => user.id === session.user()?.id;

  async function act(fn) {
    if (acting) return;
    acting = true;
    setText(problem, '');
    try {
      await fn();
    } catch (error) {
      setText(problem, explain(error));
    } finally {
      acting = false;
    }
  }

  async function changeAccess() {
    const enable = user.disabled;
    const sure = await confirm({
      title: `${enable ? 'Enable' : 'Disable'} the account of ${user.name}?`, yes: enable ? 'Enable' : 'Disable',
      danger: !enable,
      text: enable ? 'This account can log in and buy again.'
        : `${isSelf() ? 'This is your own account: you are logged out at once. ' : ''}Within two seconds every login of this account ends, `
          + 'and it cannot log in or buy. What it has bought stays valid.',
    });
    if (sure) await save({ disabled: !enable }, `${user.name} is ${enable ? 'enabled' : 'disabled'}.`);
  }

  async function changeNaming() {
    const hide = !user.hideName;
    const sure = await confirm({
      title: `${hide ? 'Hide' : 'Show'} the name of ${user.name}?`, yes: hide ? 'Hide name' : 'Show name', danger: false,
      text: `${hide ? 'Everybody but admins sees “Anonymous” instead, in earlier purchases as well.'
        : 'Later purchases have it again; earlier ones stay anonymous.'} Every login of this account ends.`,
    });
    if (sure) await save({ hideName: hide }, `The name of ${user.name} is ${hide ? 'hidden' : 'shown'}.`);
  }

  async function changeRole() {
    const chosen = await chooseRole(user, isSelf());
    if (chosen && chosen !== user.role) await save({ role: chosen }, `${user.name}: ${ROLE_NAMES[chosen]}.`);
  }

  async function save(body, done) {
    ({ data: user } = await asAdmin('PATCH', `/users/${user.id}`, { body }));
    update();
    announce(done);
    if (isSelf()) await check();
  }

  update();
  return element;
}

/// Asks for a role. Resolves to it, or to an empty string.
function chooseRole(user, isSelf) {
  const titleId = uniqueId('role');
  const options = ROLES.map(([value, name, meaning]) => {
    const [id, meaningId] = [uniqueId('role'), uniqueId('role')];
    return h('div', { class: 'option' },
      h('input', { type: 'radio', name: 'role', id, value, checked: value === user.role, 'aria-describedby': meaningId }),
      h('label', { for: id }, name), h('span', { class: 'option-meaning', id: meaningId }, meaning));
  });
  const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': titleId },
    h('form', { class: 'form', onsubmit: () => { dialog.returnValue = dialog.querySelector(':checked').value; } , method: 'dialog' },
      h('h2', { class: 'dialog-title', id: titleId }, `Which role for ${user.name}?`),
      h('fieldset', { class: 'options' }, h('legend', { class: 'unseen' }, 'Role'), options),
      h('p', { class: 'row-note' }, isSelf ? 'This is your own account: without the role Admin you cannot come back to this page. ' : '',
        'It counts at once, for every login of this account.'),
      h('div', { class: 'dialog-actions' },
        h('button', { type: 'button', class: 'button', onclick: () => dialog.close('') }, 'Cancel'),
        h('button', { class: 'button button-primary' }, 'Change role'))));
  const closed = openModal(dialog);
  dialog.querySelector(':checked')?.focus();
  return closed.then(() => dialog.returnValue);
}

function explain(error) {
  if (!(error instanceof Problem)) return `${inWords(error)} The change may have been made: read the list again.`;
  if (error.code === 'validation_failed') return (error.body.errors ?? []).map(({ field, message }) => `${field} ${message}`).join('; ');
  return inWords(error);
}
