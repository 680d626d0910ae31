"""The pages of those who run the bridge (`/admin…`): sessions of admins only, every act audited."""
