"""``mediactl users``: who may sign in, and what they may do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from media_platform.contract.identity import ADMIN_GROUP, GROUPS, TENANT_CHARACTERS, VIEWER_GROUP
from media_platform.contract.object_keys import is_key_segment
from mediactl import output
from mediactl.errors import REFUSED, USAGE, CommandError
from mediactl.options import (
    HELP,
    Group,
    dry_run_option,
    environment_option,
    json_option,
    tenant_name,
)

if TYPE_CHECKING:
    from mediactl.access.accounts import Accounts
    from mediactl.access.admin import ChangedUser, User, UserList
    from mediactl.environment import Environment

DEFAULT_LIMIT = 100

tenant_option = click.option(
    "--tenant",
    metavar="TENANT",
    envvar="MEDIACTL_TENANT",
    callback=tenant_name,
    help="Tenant of the users; another one than your own takes an operator. Default: your own, and"
    " `demo` on a plane on this machine.",
)
no_invite_option = click.option(
    "--no-invite",
    is_flag=True,
    help="Send it nothing, and print its first password, this once.",
)


@dataclass(frozen=True)
class CreatedUser:
    """A user that was created, or would be.

    Attributes:
        created: Whether it was; ``false`` with ``--dry-run``, and where it was there before.
        email: Its e-mail address.
        tenant: Its tenant; ``null`` if that is known only once it is created.
        groups: Its groups.
        username: Its name in the user pool; ``null`` if it was not created.
        temporary_password: Its first password, with ``--no-invite``; nobody can read it again.
    """

    created: bool
    email: str
    tenant: str | None
    groups: list[str]
    username: str | None
    temporary_password: str | None


@click.group(name="users", cls=Group, context_settings=HELP)
def group() -> None:
    """List and change the users of a tenant.

    A user is named by its e-mail address, its name in the user pool, or its id (the `owner` of
    videos). What is done here stands in the audit trail; tokens that a user has hold until they
    end, for an hour at most.
    """


@group.command("list")
@environment_option
@tenant_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=DEFAULT_LIMIT,
    show_default=True,
    help="Most users to list.",
)
@json_option("mediactl.access.admin:UserList")
def list_users(environment: Environment, tenant: str | None, limit: int, as_json: bool) -> None:
    """List the users of a tenant.

    They come in no order. Cognito cannot look for a tenant, so this reads the users of all, and
    takes a while where there are many.

    \b
    Examples:
      mediactl users list
      mediactl users list --tenant TENANT --json
    """
    from mediactl.access.admin import AdminClient, UserList  # noqa: PLC0415 - slow to import

    found = list(itertools.islice(AdminClient.of(environment, tenant).users(), limit + 1))
    output.show(UserList(users=found[:limit], more=len(found) > limit), as_json, _show_list)


@group.command()
@environment_option
@tenant_option
@click.argument("user")
@json_option("mediactl.access.admin:User")
def show(environment: Environment, tenant: str | None, user: str, as_json: bool) -> None:
    """Show a user.

    \b
    Examples:
      mediactl users show USER
      mediactl users show USER --json
    """
    from mediactl.access.admin import AdminClient  # noqa: PLC0415 - slow to import

    output.show(AdminClient.of(environment, tenant).user(user), as_json, _show_user)


@group.command()
@environment_option
@tenant_option
@click.argument("email")
@click.option(
    "--group",
    "groups",
    multiple=True,
    type=click.Choice(list(GROUPS)),
    help="Group of the user; may be given more than once. Default: viewer.",
)
@click.option("--name", help="What people call it.")
@no_invite_option
@dry_run_option
@json_option("mediactl.commands.users:CreatedUser")
def create(
    *,
    environment: Environment,
    tenant: str | None,
    email: str,
    groups: tuple[str, ...],
    name: str | None,
    no_invite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Create a user, whom Cognito sends a first password.

    It is good for three days and for the choice of an own one.

    \b
    Examples:
      mediactl users create ada@example.com --group editor --dry-run
      mediactl users create grace@example.com --group editor --no-invite
    """
    from mediactl.access.admin import AdminClient  # noqa: PLC0415 - slow to import

    _check_address(email)
    client = AdminClient.of(environment, tenant)
    wanted = sorted(set(groups) or {VIEWER_GROUP})
    if dry_run:
        known = next(client.users(email=email), None)
        if known is not None:
            raise CommandError(
                f"{email} is a user already, in {', '.join(known.groups) or 'no group'}",
                hint="`mediactl users groups` changes its groups",
                exit_code=REFUSED,
            )
        made = CreatedUser(False, email, client.tenant, wanted, None, None)
    else:
        user, password = client.create_user(email, groups=wanted, name=name, invite=not no_invite)
        made = CreatedUser(True, email, user.tenant, user.groups, user.username, password)
    output.show(made, as_json, _show_created)


@group.command("create-admin")
@environment_option
@click.argument("email")
@click.option(
    "--tenant",
    metavar="TENANT",
    required=True,
    callback=tenant_name,
    help="Tenant that the user administers; that of the operators makes it an operator.",
)
@no_invite_option
@dry_run_option
@json_option("mediactl.commands.users:CreatedUser")
def create_admin(
    *,
    environment: Environment,
    email: str,
    tenant: str,
    no_invite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the first administrator of a tenant, with AWS credentials.

    Nobody can sign in to a new stage, so nobody can call the admin service. This makes the user
    straight in Cognito, with credentials that may call ListUsers, AdminCreateUser and
    AdminAddUserToGroup on the user pool: the audit trail does not tell of it, CloudTrail does. A
    user of the tenant that has the address already becomes an administrator.

    \b
    Examples:
      mediactl users create-admin root@example.com --tenant TENANT --no-invite
    """
    from mediactl.access.accounts import Accounts  # noqa: PLC0415 - slow to import

    _check_address(email)
    if not is_key_segment(tenant) or len(tenant) > TENANT_CHARACTERS:
        raise CommandError(
            f"{tenant!r} is no name of a tenant",
            hint="it starts with a letter or digit and goes on with letters, digits, '_', '.', ':'"
            f" or '-', {TENANT_CHARACTERS} characters at most",
            exit_code=USAGE,
        )
    made = _make_admin(Accounts.of(environment), email, tenant, invite=not no_invite, dry=dry_run)
    output.show(made, as_json, _show_created)


def _make_admin(
    accounts: Accounts, email: str, tenant: str, *, invite: bool, dry: bool
) -> CreatedUser:
    from media_platform.contract.ids import new_id  # noqa: PLC0415 - only needed here
    from mediactl.access.accounts import new_password  # noqa: PLC0415 - slow to import

    known = accounts.find(email)
    if known is not None and known.tenant != tenant:
        raise CommandError(
            f"{email} is a user of tenant {known.tenant or '(none)'}, and an address belongs to one"
            " user",
            hint="take another address",
            exit_code=REFUSED,
        )
    username = known.username if known is not None else None
    made = CreatedUser(False, email, tenant, [ADMIN_GROUP], username, None)
    if dry:
        return made
    if known is not None:
        accounts.add_to_groups(known.username, [ADMIN_GROUP])
        return made
    username, password = new_id(), None if invite else new_password()
    accounts.create(username, email=email, tenant=tenant, temporary_password=password)
    accounts.add_to_groups(username, [ADMIN_GROUP])
    return replace(made, created=True, username=username, temporary_password=password)


@group.command("groups")
@environment_option
@tenant_option
@click.argument("user")
@click.argument("groups", nargs=-1, type=click.Choice(list(GROUPS)))
@click.option("--none", "none", is_flag=True, help="Take it out of all groups.")
@dry_run_option
@json_option("mediactl.access.admin:ChangedUser")
def put_groups(
    *,
    environment: Environment,
    tenant: str | None,
    user: str,
    groups: tuple[str, ...],
    none: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let a user be in exactly these groups.

    \b
    Examples:
      mediactl users groups USER editor viewer
      mediactl users groups USER --none --dry-run
    """
    if bool(groups) == none:
        raise click.UsageError("name the groups that the user is to be in, or --none")
    from mediactl.access.admin import AdminClient, ChangedUser  # noqa: PLC0415 - slow to import

    client = AdminClient.of(environment, tenant)
    found, wanted = client.user(user), sorted(set(groups))
    user_now = found if dry_run else client.put_groups(found, wanted)
    done = ChangedUser(changed=not dry_run, user=user_now)
    output.show(done, as_json, _tell(f"in {', '.join(wanted) or 'no group'}"))


@group.command()
@environment_option
@tenant_option
@click.argument("user")
@dry_run_option
@json_option("mediactl.access.admin:ChangedUser")
def disable(
    environment: Environment, tenant: str | None, user: str, dry_run: bool, as_json: bool
) -> None:
    """Keep a user from signing in and from getting new tokens.

    Nobody disables himself, and a tenant keeps an administrator who may sign in.

    \b
    Examples:
      mediactl users disable USER --dry-run
    """
    done = _act(environment, tenant, user, "disable", dry_run=dry_run)
    output.show(done, as_json, _tell("disabled"))


@group.command()
@environment_option
@tenant_option
@click.argument("user")
@dry_run_option
@json_option("mediactl.access.admin:ChangedUser")
def enable(
    environment: Environment, tenant: str | None, user: str, dry_run: bool, as_json: bool
) -> None:
    """Let a user sign in again.

    \b
    Examples:
      mediactl users enable USER
    """
    done = _act(environment, tenant, user, "enable", dry_run=dry_run)
    output.show(done, as_json, _tell("enabled"))


@group.command("sign-out")
@environment_option
@tenant_option
@click.argument("user")
@dry_run_option
@json_option("mediactl.access.admin:ChangedUser")
def sign_out(
    environment: Environment, tenant: str | None, user: str, dry_run: bool, as_json: bool
) -> None:
    """Withdraw the refresh tokens of a user, on all devices.

    \b
    Examples:
      mediactl users sign-out USER
    """
    done = _act(environment, tenant, user, "sign-out", dry_run=dry_run)
    output.show(done, as_json, _tell("signed out"))


def _act(
    environment: Environment, tenant: str | None, name: str, action: str, *, dry_run: bool
) -> ChangedUser:
    from mediactl.access.admin import AdminClient, ChangedUser  # noqa: PLC0415 - slow to import

    client = AdminClient.of(environment, tenant)
    found = client.user(name)
    return ChangedUser(changed=not dry_run, user=found if dry_run else client.act(found, action))


def _tell(what: str) -> Callable[[ChangedUser], None]:
    def tell(done: ChangedUser) -> None:
        verb = "is" if done.changed else "would be"
        who = output.printable(done.user.email or done.user.username)
        click.echo(f"{who} {verb} {what}")

    return tell


def _check_address(email: str) -> None:
    name, at, domain = email.partition("@")
    if not (name and at and "." in domain.strip(".")) or not _is_plain(email):
        raise CommandError(
            f"{email!r} is no e-mail address", hint="write one as ada@example.com", exit_code=USAGE
        )


def _is_plain(text: str) -> bool:
    return text.isprintable() and not any(one.isspace() for one in text)


def _show_list(found: UserList) -> None:
    if not found.users:
        output.say("no users")
        return
    table = output.table("address", "groups", "status", "signs in")
    for user in sorted(found.users, key=lambda one: one.email or one.username):
        table.add_row(
            output.printable(user.email or user.username),
            ", ".join(user.groups),
            user.status,
            "yes" if user.enabled else "no, disabled",
        )
    output.console().print(table)
    if found.more:
        output.say("there are more users; --limit lists more of them")


def _show_user(user: User) -> None:
    _show_pairs(
        [
            ("address", user.email or "none"),
            ("name", user.name or "none"),
            ("tenant", user.tenant),
            ("groups", ", ".join(user.groups) or "none"),
            ("status", user.status),
            ("signs in", "yes" if user.enabled else "no, disabled"),
            ("user name", user.username),
            ("id", user.user_id),
            ("created", user.created_at),
            ("changed", user.updated_at),
        ]
    )


def _show_created(made: CreatedUser) -> None:
    where = f" of tenant {made.tenant}" if made.tenant else ""
    groups = ", ".join(made.groups)
    if made.created:
        click.echo(f"{made.email} is a user{where}, in {groups}")
    elif made.username:
        click.echo(f"{made.email} is a user{where} already, in {groups} from now on")
    else:
        click.echo(f"{made.email} would become a user{where}, in {groups}")
    if made.temporary_password:
        click.echo(f"first password: {made.temporary_password}")


def _show_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    for name, value in pairs:
        click.echo(f"{name:10} {output.printable(value)}")
