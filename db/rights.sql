-- The rights that Bekk's role needs for a table that exists, and no more. Run as a superuser or the database's owner:
--
--     psql --dbname warehouse --set role=loader --set schema=public --set table=events --file db/rights.sql
--
-- A stream with deletes = true needs GRANT DELETE on its table as well.
--
-- The temporary table is where rows wait whose key may exist already.
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO :"role";
CREATE SCHEMA IF NOT EXISTS bekk;
ALTER SCHEMA bekk OWNER TO :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";
GRANT SELECT, INSERT, UPDATE ON TABLE :"schema".:"table" TO :"role";
GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO :"role";
