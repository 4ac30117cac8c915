from django.apps import AppConfig


class MarketsConfig(AppConfig):
    name = "markets"

    def ready(self) -> None:
        from jobs.cleaning import register_cleaner
        from markets.services.downloads import forget_old_parts
        from markets.services.features import evict_features
        from markets.services.imports import forget_old_uploads

        register_cleaner(forget_old_uploads)
        register_cleaner(evict_features)
        register_cleaner(forget_old_parts)
