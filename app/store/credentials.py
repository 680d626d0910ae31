"""What a user's credentials began, across sessions and one-time links: ended together when they change."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.store.browser_sessions import end_browser_sessions
from app.store.one_time_links import OneTimeLinkKind, end_one_time_links
from app.store.users import User


async def end_credentials(session: AsyncSession, user: User) -> None:
    """Nothing that was begun or could be begun with the user's old credentials goes on: no session, no link that
    works once, no sign-in whose check is under way. For the transaction that changes them; also writes what else was
    changed on `user`.
    """
    user.credentials_epoch = User.credentials_epoch + 1
    await session.flush()
    await session.refresh(user)
    await end_browser_sessions(session, user.id)
    for kind in OneTimeLinkKind:
        await end_one_time_links(session, kind, user.id)
